"""Preparing BRATS cases: `pam` on one core against a plain loop of nibabel, NumPy and `np.save`, in one run.

    python tests/benchmarks/preparing.py [--brats DIR] [--cases 3] [--pairs 5]

DIR holds one or more real cases (`BraTS2021_00000/…`); without it, phantoms of a real case's size stand in. Cases
beyond those that are there are copies with other intensities, so that no two are equal. Both ways take turns on the
same files, which are in the page cache, in seconds of the processor, which other programs on the machine disturb less.

`pam` does more than the loop: it hashes the files and the result, checks labels, grids, values and copies, and writes
its store so that it is whole or absent. The loop is spared the normalisation of what the crop cuts off, and saves
float16, too.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # per core

import argparse
import gzip
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
from measured import Row, faster, finish, in_turns, options, short

from pam.data.prepare import prepare
from pam.datasets import DATASETS
from pam.datasets.phantom import make_patient

ENDINGS = ("_t1", "_t2", "_t1ce", "_flair")
SHAPE = (155, 240, 240)  # d h w, of every BRATS case
TRAINING_CASES = 210  # of the paper
CROP = slice(40, 200)
TARGET = 2.5  # times the loop's speed


def plain_loop(source: Path, out: Path) -> None:
    """What a researcher's script does."""
    for folder in sorted(source.iterdir()):
        channels = []
        for ending in ENDINGS:
            voxels = nib.load(folder / f"{folder.name}{ending}.nii.gz").get_fdata()
            inside = voxels != 0
            mean, deviation = voxels[inside].mean(), voxels[inside].std()
            cropped = voxels[CROP, CROP]
            channels.append(np.where(inside[CROP, CROP], (cropped - mean) / deviation, 0))
        target = nib.load(folder / f"{folder.name}_seg.nii.gz").get_fdata()[CROP, CROP] == 4
        np.save(out / f"{folder.name}_image.npy", np.stack(channels).astype(np.float16))
        np.save(out / f"{folder.name}_mask.npy", target.astype(np.uint8))


def ours(source: Path, out: Path) -> None:
    os.environ["PAM_HOME"] = str(out)
    prepare(DATASETS.build("brats2021"), source, workers=1)


def write_cases(source: Path, real: Path | None, count: int) -> int:
    """Write cases; how many are untouched real ones."""
    folders = sorted(real.glob("BraTS2021_*"))[:count] if real else []
    for number in range(count):
        case = f"BraTS2021_{number:05d}"
        (source / case).mkdir()
        generator = np.random.default_rng(number)
        if folders:
            original = folders[number % len(folders)]
            for path in original.iterdir():
                target = source / case / path.name.replace(original.name, case)
                shutil.copy(path, target) if number < len(folders) else _change(path, target, generator)
        else:
            images, labels = make_patient(generator, SHAPE)
            for ending, voxels in zip(
                (*ENDINGS, "_seg"), (*images.astype(np.int16), labels.astype(np.uint8)), strict=True
            ):
                _save(source / case / f"{case}{ending}.nii.gz", voxels.T, np.diag([-1.0, -1, 1, 1]))
    return min(len(folders), count)


def _change(path: Path, target: Path, generator: np.random.Generator) -> None:
    image = nib.load(path)
    voxels = np.asarray(image.dataobj)
    if not path.name.endswith("_seg.nii.gz"):
        step = generator.integers(-1, 2, voxels.shape)
        voxels = np.where(voxels > 1, voxels + step, voxels).astype(voxels.dtype)
    _save(target, voxels, image.affine)


def _save(path: Path, voxels: np.ndarray, affine: np.ndarray) -> None:
    path.write_bytes(gzip.compress(nib.Nifti1Image(voxels, affine).to_bytes(), compresslevel=6, mtime=0))


def fresh(way: Callable[[Path, Path], None], source: Path) -> None:
    with tempfile.TemporaryDirectory() as out:
        way(source, Path(out))


def measure(arguments: argparse.Namespace) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder)
        real = write_cases(source, arguments.brats, arguments.cases)
        ways = partial(fresh, plain_loop, source), partial(fresh, ours, source)
        for way in ways:
            way()  # imports, page cache
        taken = tuple(in_turns(*ways, arguments.pairs, time.process_time))
    fast = statistics.median(seconds for _, seconds in taken) / arguments.cases
    kind = f"{real} real, the others changed copies" if real else "phantoms"
    yield faster(
        f"preparing {arguments.cases} BRATS cases on one core ({kind})",
        taken,
        least=TARGET,
        against="loop of nibabel, NumPy, np.save",
        note=f"{TRAINING_CASES} cases on one core, extrapolated: {short(TRAINING_CASES * fast)} s",
    )


if __name__ == "__main__":
    parser = options(__doc__, cases=3, pairs=5)
    parser.add_argument("--brats", type=Path, metavar="DIR", default=os.environ.get("PAM_BRATS"), help="or $PAM_BRATS")
    arguments = parser.parse_args()
    sys.exit(finish(__file__, measure(arguments), arguments))
