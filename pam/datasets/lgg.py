"""Lower-grade glioma of TCGA, as on Kaggle (`kaggle_3m`): one folder per patient, one TIFF per slice and per mask."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pam.datasets.dataset import DATASETS, Case, Dataset, Problem
from pam.study import Recipe

FOLDER = re.compile(r"(?P<patient>TCGA_[^_]+_[^_]+)_\d+")  # the rest is the scan's date
MASK = "_mask"


@DATASETS.register
def lgg(shrink: Literal["1", "2", "4"] = "1") -> Dataset:
    """FLAIR abnormality in 110 patients with lower-grade glioma.

    shrink: the factor by which rows and columns are brought down, for a laptop: a pixel is the mean of those it stands
    for, and target where at least half of them are.

    Source: Buda, Saha, Mazurowski (2019). Differs: the paper does not use this set, so the recipe (batch 16, learning
    rate 1e-3, 40 epochs) is this project's own. The TIFFs tell no spacing: distances of cases are undefined.
    """
    return Dataset(
        name="lgg",
        title="TCGA LGG",
        target="FLAIR abnormality",
        expects="Kaggle's kaggle_3m: TCGA_XX_0000_00000000/TCGA_XX_0000_00000000_{1,2,…}.tif, each with its …_mask.tif",
        modalities=("pre-contrast", "FLAIR", "post-contrast"),
        shown="FLAIR",
        labels=(0, 255),
        target_labels=(255,),
        size=None,
        shrink=int(shrink),
        zero_outside=False,  # the skull is there, and air is noise above 0
        recipe=Recipe(epochs=40, batch_size=16, learning_rate=1e-3),
        reader="tiff_slices",
        find=find,
    )


def find(source: Path) -> list[Case]:
    """Every patient's folder, with the problems of its files' names."""
    matches = [(folder, FOLDER.fullmatch(folder.name)) for folder in sorted(source.glob("*")) if folder.is_dir()]
    return [_case(folder, match["patient"]) for folder, match in matches if match]


def _case(folder: Path, patient: str) -> Case:
    """Slices in the order of their numbers; one without mask is a problem, and so is a mask without slice."""
    masks = {path.name for path in folder.glob(f"*{MASK}.tif")}
    slices = [path for path in folder.glob("*.tif") if path.name not in masks]
    numbered = sorted((number, path) for path in slices if (number := _number(path)) is not None)
    targets = [path.with_name(f"{path.stem}{MASK}.tif") for _, path in numbered]
    problems = [
        Problem(path=path, message=f"no slice number in its name; expected {folder.name}_N.tif or …_N_mask.tif")
        for path in sorted(slices)
        if _number(path) is None
    ]
    problems += [
        Problem(path=target, message=f"{path.name}: its mask {target.name} is missing; restore it or remove the slice")
        for (_, path), target in zip(numbered, targets, strict=True)
        if target.name not in masks
    ]
    problems += [
        Problem(
            path=folder / name,
            message=f"a mask without its slice {name.replace(MASK, '')}; restore it or remove the mask",
        )
        for name in sorted(masks - {target.name for target in targets})
    ]
    if not slices:
        message = f"no slice; expected {folder.name}_1.tif, {folder.name}_2.tif …"
        problems.append(Problem(path=folder, message=message))
    return Case(
        case=folder.name,
        patient=patient,
        images=tuple(path for _, path in numbered),
        target=tuple(targets),
        numbers=tuple(number for number, _ in numbered),
        problems=tuple(problems),
    )


def _number(path: Path) -> int | None:
    number = path.stem.removeprefix(f"{path.parent.name}_")
    return int(number) if number.isdecimal() else None
