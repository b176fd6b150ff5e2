"""On a CPU without bfloat16 instructions: a step in `pam`'s bfloat16 against torch's autocast, and against float32.

    python tests/benchmarks/without_bfloat16.py [--networks unet,fpa] [--threads 1] [--sizes 48x8,96x16]

Most laptops' processors are such. `--sizes` gives height (and width) of the images and the width of the networks. On
another CPU nothing is measured: there torch's own kernels run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from measured import Row, faster, finish, in_turns, options
from torch import nn

from pam import networks
from pam.train import autocast
from pam.train.precision import multiplies_bfloat16

CPU = torch.device("cpu")
CHANNELS, BATCH = 4, 8
BASELINES: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "torch's autocast to bfloat16": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "float32": nullcontext,
}


def step(network: nn.Module, precision: Callable[[], AbstractContextManager[object]], side: int) -> Callable[[], None]:
    """Forward, backward, AdamW."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(BATCH, CHANNELS, side, side, generator=generator)
    target = (torch.rand(BATCH, 1, side, side, generator=generator) < 0.05).float()
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)

    def one() -> None:
        with precision():
            logits = network(images)
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(logits.float(), target).backward()
        optimizer.step()

    one()  # the first call allocates and chooses kernels
    return one


def measure(arguments: argparse.Namespace) -> Iterator[Row]:
    measured = not multiplies_bfloat16()
    for name in arguments.networks.split(","):
        for side, width in (map(int, size.split("x")) for size in arguments.sizes.split(",")):
            for against, precision in BASELINES.items():
                what = f"training step in bfloat16, CPU without its instructions, {side}×{side}, width {width}: {name}"
                if not measured:
                    yield Row(what=what, against=against, note="this CPU has them")
                    continue
                steps = [
                    step(networks.build(name, CHANNELS, width=width), way, side)
                    for way in (precision, lambda: autocast(CPU, "bfloat16"))
                ]
                yield faster(what, in_turns(*steps, arguments.pairs), against=against)


if __name__ == "__main__":
    parser = options(__doc__, networks="unet,fpa", threads=1, sizes="48x8,96x16", pairs=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    sys.exit(finish(__file__, measure(arguments), arguments))
