"""Feeding batches of 50 slices of 4×160×160 from a slice store, against a torch Dataset that opens a file per slice.

    python tests/benchmarks/feeding.py [--slices 600] [--pairs 7] [--threads 1]

Four ways to keep a file per slice, each read by a `Dataset` and stacked by torch's `DataLoader`, shuffled, without
workers (workers would spread the same work over more cores): NIfTI as the data comes (`.nii.gz`, one per modality and
mask), a compressed array (`np.savez_compressed`), a plain one (`np.save`, float32), and plain ones of image and mask in
two folders of 10,000, both listed and sorted for every slice that is read, as the `Dataset` of the paper's public code
does (which reads TIFF). Both ways deliver float32 images and targets, from files in the page cache. A pass of the
Dataset is timed on some batches, a pass of the store on all; the ratio is taken pair by pair and its median is quoted.

A plain file in the page cache is read at the speed of memory, as the store is: there is no factor of 20 to be had.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from glob import glob
from itertools import islice
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from measured import Row, faster, finish, options
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pam.data.batches import Batches
from pam.datasets.phantom import make_patient

BATCH, CHANNELS, SIDE = 50, 4, 160
LISTED = 10_000  # slices in a folder: about what 210 cases give
DEPTH = 24  # slices of a phantom patient
TARGET = 20.0  # times the Dataset's speed
Read = Callable[[Path], tuple[np.ndarray, np.ndarray]]


def write_nifti(path: Path, image: np.ndarray, mask: np.ndarray) -> None:
    for name, pixels in (*zip("0123", image, strict=True), ("mask", mask)):
        nib.Nifti1Image(pixels, np.eye(4)).to_filename(f"{path}_{name}.nii.gz")


def read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    image = [nib.load(f"{path}_{number}.nii.gz").get_fdata(dtype=np.float32) for number in range(CHANNELS)]
    return np.stack(image), nib.load(f"{path}_mask.nii.gz").get_fdata(dtype=np.float32)[None]


def write_compressed(path: Path, image: np.ndarray, mask: np.ndarray) -> None:
    np.savez_compressed(path.with_suffix(".npz"), image=image, mask=mask)


def read_compressed(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path.with_suffix(".npz")) as arrays:
        return arrays["image"], arrays["mask"][None].astype(np.float32)


def write_plain(path: Path, image: np.ndarray, mask: np.ndarray) -> None:
    np.save(path.with_suffix(".npy"), np.concatenate([image, mask[None].astype(np.float32)]))


def read_plain(path: Path) -> tuple[np.ndarray, np.ndarray]:
    both = np.load(path.with_suffix(".npy"))
    return both[:CHANNELS], both[CHANNELS:]


def write_listed(path: Path, image: np.ndarray, mask: np.ndarray) -> None:
    for name, pixels in (("image", image), ("mask", mask[None].astype(np.float32))):
        folder = path.parent / name
        if not folder.exists():
            folder.mkdir()
            for number in range(LISTED):
                (folder / f"z_{number:05}.npy").touch()  # after the slices that are read, in order
        np.save(folder / f"{path.name}.npy", pixels)


def read_listed(path: Path) -> tuple[np.ndarray, np.ndarray]:
    number = int(path.name.rpartition("_")[2])
    images, masks = (
        sorted(glob(f"{path.parent}/{name}/*.npy"))  # noqa: PTH207  # as the code it stands for does
        for name in ("image", "mask")
    )
    return np.load(images[number]), np.load(masks[number])


class Files(Dataset[tuple[Tensor, Tensor]]):
    """What a researcher's script does."""

    def __init__(self, paths: list[Path], read: Read) -> None:
        self.paths, self.read = paths, read

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        image, mask = self.read(self.paths[number])
        return torch.from_numpy(image), torch.from_numpy(mask)


def slices(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Normalised images (n c h w float16) and masks (n h w uint8) of phantom patients."""
    images, masks = [], []
    for number in range(-(-count // DEPTH)):
        image, labels = make_patient(np.random.default_rng(number), (DEPTH, SIDE, SIDE))
        images.append(((image - 300) / 200).transpose(1, 0, 2, 3).astype(np.float16))
        masks.append((labels == 4).astype(np.uint8))
    return np.concatenate(images)[:count], np.concatenate(masks)[:count]


def seconds_per_batch(batches: Iterable[tuple[Tensor, Tensor]], count: int) -> float:
    """The first batch, which opens things, does not count."""
    iterator = iter(batches)
    next(iterator)
    start, done = time.perf_counter(), 0
    for image, mask in islice(iterator, count):
        assert image.shape[1:] == (CHANNELS, SIDE, SIDE) and mask.shape[1] == 1 and image.dtype == torch.float32
        done += 1
    return (time.perf_counter() - start) / done


# What a slice's files are: how they are written and read, batches to time, and the target where there is one.
KINDS: dict[str, tuple[Callable[[Path, np.ndarray, np.ndarray], None], Read, int, float | None]] = {
    "a .nii.gz per modality": (write_nifti, read_nifti, 2, TARGET),
    "a compressed .npz": (write_compressed, read_compressed, 3, TARGET),
    "a .npy in folders listed for each slice": (write_listed, read_listed, 3, TARGET),
    "a plain float32 .npy": (write_plain, read_plain, 10, None),
}


def measure(arguments: argparse.Namespace) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        images, masks = slices(arguments.slices)
        np.save(f"{folder}/images.npy", images)
        np.save(f"{folder}/masks.npy", masks)
        store = Batches(
            np.load(f"{folder}/images.npy", mmap_mode="r"),
            np.load(f"{folder}/masks.npy", mmap_mode="r"),
            np.arange(len(masks)),
            batch_size=BATCH,
            augment=(),
            generator=torch.Generator().manual_seed(0),
            device=torch.device("cpu"),
        )
        seconds_per_batch(store, len(store))
        for name, (write, read, count, least) in KINDS.items():
            paths = [Path(folder) / f"slice_{number:05}" for number in range(len(masks))]
            for path, image, mask in zip(paths, images.astype(np.float32), masks, strict=True):
                write(path, image, mask)
            files = DataLoader(Files(paths, read), batch_size=BATCH, shuffle=True)
            yield faster(
                f"feeding a batch of {BATCH} slices of {CHANNELS}×{SIDE}×{SIDE}",
                [
                    (seconds_per_batch(files, count), seconds_per_batch(store, len(store)))
                    for _ in range(arguments.pairs)
                ],
                least=least,
                against=f"Dataset that opens {name}",
                note="" if least else "both at the speed of memory: there is no factor of 20 to be had",
            )


if __name__ == "__main__":
    arguments = options(__doc__, slices=600, pairs=7, threads=1).parse_args()
    torch.set_num_threads(arguments.threads)
    sys.exit(finish(__file__, measure(arguments), arguments))
