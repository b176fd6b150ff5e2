"""One training step (forward, backward, AdamW), `pam`'s way against a plain float32 eager loop, in one run.

python tests/benchmarks/train_step.py [--networks unet,fpa] [--threads 2] [--batch 8] [--size 160] [--width 32]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator

import numpy as np
import torch
from measured import Row, faster, finish, in_turns, options
from torch import nn

from pam import networks
from pam.data.batches import Batches
from pam.study import Recipe
from pam.train import fit

CHANNELS = 4
TARGETS = {"unet": 2.0, "fpa": 1.8}  # times the speed of eager float32


def plain_float32(network: nn.Module, images: torch.Tensor, target: torch.Tensor) -> Callable[[], None]:
    """What a researcher's script does."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        probability = torch.sigmoid(network(images))
        loss = 1 - (2 * (probability * target).sum() + 1) / (probability.sum() + target.sum() + 1)
        loss.backward()
        optimizer.step()
        loss.item()

    return step


def ours(network: nn.Module, images: torch.Tensor, target: torch.Tensor) -> Callable[[], None]:
    """One epoch of one batch through `pam.train.fit`, augmentation and conversion included."""
    count = len(images)
    batches = Batches(
        images.numpy().astype(np.float16),
        target[:, 0].numpy().astype(np.uint8),
        np.arange(count),
        batch_size=count,
        augment=("horizontal_flip",),
        generator=torch.Generator().manual_seed(0),
        device=torch.device("cpu"),
    )
    epochs = fit(network, batches, Recipe(epochs=10**6, batch_size=count))

    def step() -> None:
        next(epochs)

    return step


def measure(arguments: argparse.Namespace) -> Iterator[Row]:
    generator = torch.Generator().manual_seed(0)
    batch, side = arguments.batch, arguments.size
    images = torch.randn(batch, CHANNELS, side, side, generator=generator)
    target = (torch.rand(batch, 1, side, side, generator=generator) < 0.05).float()
    for name in arguments.networks.split(","):
        steps = [
            way(networks.build(name, CHANNELS, generator=generator, width=arguments.width), images, target)
            for way in (plain_float32, ours)
        ]
        for step in steps:
            step()  # the first call allocates and chooses kernels
        yield faster(
            f"training step, CPU, batch {batch} of {CHANNELS}×{side}×{side}, width {arguments.width}: {name}",
            in_turns(*steps, arguments.pairs),
            least=TARGETS.get(name),
            against="eager float32 loop",
        )


if __name__ == "__main__":
    parser = options(__doc__, networks="unet,fpa", threads=2, batch=8, size=160, width=32, pairs=7)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    sys.exit(finish(__file__, measure(arguments), arguments))
