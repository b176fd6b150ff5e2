"""What each way to a faster step is worth on a CPU: `pam`'s step against the same step with one thing changed.

    python tests/benchmarks/ways.py [--networks unet,fpa] [--threads 1] [--batch 8] [--size 96] [--width 16]

A ratio above 1 says that pam's choice takes less of the processor's time, whether it took the way or left it. The
weights, images and loss are the same; each step is forward, backward and AdamW. How long the first step takes that
compiles is told in the note, without anything in inductor's cache and then, in the same process, with it filled. What
only a GPU can tell is in `gpu.py`; `docs/speed.md` puts both together.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from measured import Row, duration, faster, finish, in_turns, options, seconds
from quality import plain_kernels
from torch import nn

from pam import networks
from pam.losses import loss_of
from pam.networks.convolution import DilatedDepthwise
from pam.train import autocast
from pam.train.loop import memory_format

CPU = torch.device("cpu")
CHANNELS = 4


@dataclass(frozen=True, kw_only=True)
class Way:
    layout: torch.memory_format
    precision: str = "bfloat16"
    fused: bool = True  # AdamW
    shifted: bool = True  # sums of shifted maps for dilated depth-wise convolutions
    compiled: bool = False


OURS = Way(layout=memory_format(CPU))
OTHERS = {
    "float32 instead of bfloat16 autocast": replace(OURS, precision="float32"),
    "channels-last maps": replace(OURS, layout=torch.channels_last),
    "AdamW that is not fused": replace(OURS, fused=False),
    "torch's dilated depth-wise kernels": replace(OURS, shifted=False),
    "compiled": replace(OURS, compiled=True),
}


def step(name: str, way: Way, arguments: argparse.Namespace) -> Callable[[], None]:
    """Forward, backward, AdamW; the first call compiles, allocates and chooses kernels."""
    generator = torch.Generator().manual_seed(0)
    batch, side = arguments.batch, arguments.size
    images = torch.randn(batch, CHANNELS, side, side, generator=generator).contiguous(memory_format=way.layout)
    target = (torch.rand(batch, 1, side, side, generator=generator) < 0.05).float()
    network: nn.Module = networks.build(name, CHANNELS, generator=generator, width=arguments.width)
    network = network if way.shifted else plain_kernels(network)
    network.to(memory_format=way.layout)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, weight_decay=0.01, fused=way.fused)
    loss = loss_of(network, "dice")
    run = torch.compile(network, backend=arguments.backend) if way.compiled else network

    def one() -> None:
        with autocast(CPU, way.precision):
            logits = run(images)
        value = loss(logits, target)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()

    return one


def measure(arguments: argparse.Namespace) -> Iterator[Row]:
    for name in arguments.networks.split(","):
        ours = step(name, OURS, arguments)
        ours()
        dilated = any(isinstance(module, DilatedDepthwise) for module in networks.sketch(name, CHANNELS).modules())
        for words, way in OTHERS.items():
            if not way.shifted and not dilated:
                continue
            first = []
            for _ in range(1 + way.compiled):  # the second time with what the first has left in inductor's cache
                torch.compiler.reset()
                other = step(name, way, arguments)
                first.append(duration(seconds(other)))
            note = f"first step {first[0]}, with {arguments.backend}'s cache filled {first[-1]}" if way.compiled else ""
            yield faster(
                f"training step, CPU, seconds of the processor, batch {arguments.batch} of "
                f"{CHANNELS}×{arguments.size}×{arguments.size}, width {arguments.width}: {name}",
                in_turns(other, ours, arguments.pairs, time.process_time),
                against=words,
                note=note,
            )


if __name__ == "__main__":
    parser = options(__doc__, networks="unet,fpa", threads=1, batch=8, size=96, width=16, pairs=9, backend="inductor")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory(prefix="pam-inductor-") as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        sys.exit(finish(__file__, measure(arguments), arguments))
