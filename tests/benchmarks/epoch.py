"""A pass over a slice store, with reading and augmentation, against the bare training step on one batch held ready.

    python tests/benchmarks/epoch.py [--network unet] [--batches 6] [--batch 8] [--pairs 15]

Both train through `pam.train.fit`. The bare step meets the same float32 batch again and again; the pass reads float16
slices in a drawn order through a memory map, augments them and makes them float32. On a GPU where there is one.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from measured import Row, finish, in_turns, options
from torch import Tensor

from pam import networks
from pam.data.batches import Batches
from pam.study import Augmentation, Recipe
from pam.train import fit

CHANNELS, SHARE = 4, 95.0  # per cent of the bare step's speed
AUGMENT: dict[str, tuple[Augmentation, ...]] = {
    "the paper's flips": ("horizontal_flip",),
    "flips, affine, elastic, noise": ("horizontal_flip", "affine", "elastic", "gaussian_noise"),
}


class Bare:
    """The same batch for every step, in the place of `Batches`."""

    def __init__(self, images: Tensor, target: Tensor, count: int) -> None:
        self.generator = torch.Generator().manual_seed(0)
        self.device = images.device
        self.slices = count * len(images)
        self._batch, self._count = (images, target), count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter([self._batch] * self._count)


def measure(arguments: argparse.Namespace) -> Iterator[Row]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batch, count, side = arguments.batch, arguments.batches, arguments.size
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch * count, CHANNELS, side, side, generator=generator).half()
    masks = (torch.rand(batch * count, side, side, generator=generator) < 0.05).to(torch.uint8)
    recipe = Recipe(epochs=10**6, batch_size=batch)

    def passes(batches: Batches | Bare) -> Iterator[object]:
        made = networks.build(arguments.network, CHANNELS, generator=generator, width=arguments.width)
        return fit(made, batches, recipe)  # type: ignore[arg-type]

    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/images.npy", images.numpy())
        np.save(f"{folder}/masks.npy", masks.numpy())
        for words, augment in AUGMENT.items():
            stored = Batches(
                np.load(f"{folder}/images.npy", mmap_mode="r"),
                np.load(f"{folder}/masks.npy", mmap_mode="r"),
                np.arange(len(masks)),
                batch_size=batch,
                augment=augment,
                generator=torch.Generator().manual_seed(0),
                device=device,
            )
            ready = (images[:batch].to(device).float(), masks[:batch, None].to(device).float())
            ways = [partial(next, passes(batches)) for batches in (Bare(*ready, count), stored)]
            for way in ways:
                way()  # the first pass allocates and chooses kernels
            taken = tuple(in_turns(*ways, arguments.pairs))
            shape = f"batch {batch} of {CHANNELS}×{side}×{side}, {arguments.network}, width {arguments.width}"
            yield Row(
                what=f"epoch with data and augmentation ({words}), {device.type.upper()}, {shape}: "
                "share of the bare step's speed",
                unit="%",
                values=tuple(100 * bare / whole for bare, whole in taken),
                taken=taken,
                least=SHARE,
                against="bare step on one batch",
            )


if __name__ == "__main__":
    parser = options(__doc__, network="unet", threads=2, batch=8, batches=6, size=160, width=32, pairs=15)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    sys.exit(finish(__file__, measure(arguments), arguments))
