"""One training step (forward, backward, AdamW), `pam`'s way against a plain float32 eager loop, in one run.

    python tests/benchmarks/train_step.py [NETWORK …] [--threads 2] [--batch 8] [--size 160] [--width 32]

Both ways take turns, so that a machine whose speed drifts slows both; the ratio is taken pair by pair and its median
is quoted.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from pam import networks
from pam.data.batches import Batches
from pam.study import Recipe
from pam.train import fit

CHANNELS = 4


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


def seconds(step: Callable[[], None]) -> float:
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def measure(name: str, arguments: argparse.Namespace) -> None:
    generator = torch.Generator().manual_seed(0)
    size = (arguments.batch, CHANNELS, arguments.size, arguments.size)
    images = torch.randn(size, generator=generator)
    target = (torch.rand(size[0], 1, *size[2:], generator=generator) < 0.05).float()
    steps = [
        way(networks.build(name, CHANNELS, generator=generator, width=arguments.width), images, target)
        for way in (plain_float32, ours)
    ]
    for step in steps:
        step()  # the first call allocates and chooses kernels
    pairs = [tuple(seconds(step) for step in steps) for _ in range(arguments.runs)]
    plain, fast = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(before / after for before, after in pairs)
    print(f"{name:<10} {plain:8.3f} s plain float32  {fast:8.3f} s pam  {ratio:5.2f} × (median of {len(pairs)} pairs)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=["unet", "fpa"])
    for option, default in (("threads", 2), ("batch", 8), ("size", 160), ("width", 32), ("runs", 5)):
        parser.add_argument(f"--{option}", type=int, default=default)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {arguments.threads} threads, {platform.machine()}, batch {arguments.batch}")
    for name in arguments.networks:
        measure(name, arguments)


if __name__ == "__main__":
    main()
