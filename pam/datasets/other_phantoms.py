"""Phantoms in the layouts of ISLES 2018 and CityScapes: checks that everything runs, never evidence about a method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pam.datasets import cityscapes, isles
from pam.datasets.dataset import DATASETS, Dataset
from pam.datasets.phantom import make_patient
from pam.study import Recipe

CASES = 12
SHAPE = (6, 64, 64)  # d h w
CITIES = {"train": ("ahausen", "bestadt", "cedorf"), "val": ("deburg",)}
FRAMES = 4  # per city
FRAME = (128, 256)  # h w, before down-sampling
RECIPE = Recipe(epochs=5, batch_size=8, learning_rate=1e-2)
NO_FOLDER = "no folder (the phantom makes its own)"


@DATASETS.register
def phantom_isles() -> Dataset:
    """Phantom patients in the ISLES 2018 layout."""
    changes: dict[str, Any] = {
        "expects": NO_FOLDER,
        "size": (48, 48),
        "recipe": RECIPE,
        "note": "",
        "write_source": write_isles_tree,
    }
    return isles.describe_2018("phantom_isles", "ISLES-like phantom", **changes)


@DATASETS.register
def phantom_cityscapes() -> Dataset:
    """Phantom streets in the CityScapes layout: vehicles are boxes with dark wheels."""
    changes: dict[str, Any] = {
        "expects": NO_FOLDER,
        "size": (32, 64),
        "recipe": RECIPE,
        "write_source": write_cityscapes_tree,
    }
    return cityscapes.describe("phantom_cityscapes", "CityScapes-like phantom", **changes)


def write_isles_tree(folder: Path, *, cases: int = CASES, seed: int = 0) -> None:
    """Write `TRAINING/case_1/SMIR.Brain.XX.O.CT_CBF.10/SMIR.Brain.XX.O.CT_CBF.10.nii` and so on."""
    import nibabel as nib  # noqa: PLC0415  # this package is imported where nibabel is absent

    for case in range(1, cases + 1):
        maps, labels = make_patient(np.random.default_rng([seed, case]), SHAPE)
        kinds = {f"CT_{name}": voxels for name, voxels in zip(isles.MAPS, maps, strict=True)} | {"OT": labels > 0}
        for number, (kind, voxels) in enumerate(kinds.items()):
            name = f"SMIR.Brain.XX.O.{kind}.{case}{number}"
            dtype = {"CT_CBF": np.uint16, "CT_CBV": np.uint16, "OT": np.uint8}.get(kind, np.float64)
            path = folder / "TRAINING" / f"case_{case}" / name / f"{name}.nii"
            path.parent.mkdir(parents=True)
            nib.Nifti1Image(voxels.T.astype(dtype), np.diag([1.0, 1, 5, 1])).to_filename(path)


def write_cityscapes_tree(folder: Path, *, frames: int = FRAMES, seed: int = 0) -> None:
    """Write `leftImg8bit/train/ahausen/ahausen_000000_000000_leftImg8bit.png`, its label image, and so on."""
    from PIL import Image  # noqa: PLC0415  # this package is imported where Pillow is absent

    places = [(part, city) for part, cities in CITIES.items() for city in cities]
    for number, (part, city) in enumerate(places):
        for frame in range(frames):
            pixels, labels = make_street(np.random.default_rng([seed, number, frame]))
            name = f"{city}_000000_{frame:06d}"
            image = folder / "leftImg8bit" / part / city / f"{name}{cityscapes.IMAGE}"
            target = folder / "gtFine" / part / city / f"{name}{cityscapes.LABELS}"
            for path, content in ((image, pixels), (target, labels)):
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(content).save(path)


def make_street(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One frame (h w 3, uint8) and its labels (h w, uint8): sky 23, road 7, buildings 11 and cars 26."""
    height, width = FRAME
    labels = np.full(FRAME, 23, np.uint8)
    labels[height // 2 :] = 7
    pixels = np.where(labels[..., None] == 7, (90, 90, 95), (170, 190, 220)).astype(float)
    for kind, count, colours in ((11, 4, (60, 160)), (26, 4, (30, 230))):  # cars stand before buildings
        for _ in range(count):
            rows, columns = generator.integers(16, 40), generator.integers(24, 64)
            top = height // 2 - rows + (0 if kind == 11 else generator.integers(10, 40))
            left = generator.integers(0, width - columns)
            box = (slice(top, top + rows), slice(left, left + columns))
            labels[box], pixels[box] = kind, generator.uniform(*colours, 3)
            if kind == 26:
                pixels[top + rows - 4 : top + rows, left : left + columns] = 15
    return np.clip(pixels + generator.normal(0, 8, pixels.shape), 0, 255).astype(np.uint8), labels
