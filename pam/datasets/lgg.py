"""Lower-grade glioma of TCGA, as on Kaggle (`kaggle_3m`): one folder per patient, one TIFF per slice and per mask."""

from __future__ import annotations

import re
from pathlib import Path

from pam.datasets.dataset import DATASETS, Case, Dataset
from pam.errors import DataError
from pam.study import Recipe

FOLDER = re.compile(r"(?P<patient>TCGA_[^_]+_[^_]+)_\d+")  # the rest is the scan's date
MASK = "_mask"


@DATASETS.register
def lgg() -> Dataset:
    """FLAIR abnormality in 110 patients with lower-grade glioma.

    Source: Buda, Saha, Mazurowski (2019). Differs: the paper does not use this set, so the recipe (batch 16, learning
    rate 1e-3, 40 epochs) is this project's own. The TIFFs tell no spacing: distances of cases are undefined.
    """
    return Dataset(
        name="lgg",
        title="TCGA LGG",
        target="FLAIR abnormality",
        expects="Kaggle's kaggle_3m: TCGA_XX_0000_00000000/TCGA_XX_0000_00000000_{1,2,…}.tif, each with its …_mask.tif",
        modalities=("pre-contrast", "FLAIR", "post-contrast"),
        labels=(0, 255),
        target_labels=(255,),
        size=None,
        zero_outside=False,  # the skull is there, and air is noise above 0
        recipe=Recipe(epochs=40, batch_size=16, learning_rate=1e-3),
        reader="tiff_slices",
        find=find,
    )


def find(source: Path) -> list[Case]:
    """Every patient's folder. Raises `DataError` for a slice without mask, a mask without slice, or an unknown name."""
    matches = [(folder, FOLDER.fullmatch(folder.name)) for folder in sorted(source.glob("*")) if folder.is_dir()]
    return [_case(folder, match["patient"]) for folder, match in matches if match]


def _case(folder: Path, patient: str) -> Case:
    numbered = {_number(path): path for path in folder.glob("*.tif") if not path.stem.endswith(MASK)}
    masks = {path.name for path in folder.glob(f"*{MASK}.tif")}
    if not numbered:
        raise DataError(f"{folder}: no slice; expected {folder.name}_1.tif, {folder.name}_2.tif …")
    numbers = tuple(sorted(numbered))
    images = tuple(numbered[number] for number in numbers)
    targets = tuple(path.with_name(f"{path.stem}{MASK}.tif") for path in images)
    for image, target in zip(images, targets, strict=True):
        if target.name not in masks:
            raise DataError(f"{image}: its mask {target.name} is missing; restore it or remove the slice")
    lonely = masks - {target.name for target in targets}
    if lonely:
        name = min(lonely)
        raise DataError(
            f"{folder / name}: a mask without its slice {name.replace(MASK, '')}; restore it or remove the mask"
        )
    return Case(case=folder.name, patient=patient, images=images, target=targets, numbers=numbers)


def _number(path: Path) -> int:
    number = path.stem.removeprefix(f"{path.parent.name}_")
    if not number.isdecimal():
        raise DataError(f"{path}: no slice number in its name; expected {path.parent.name}_N.tif or …_N_mask.tif")
    return int(number)
