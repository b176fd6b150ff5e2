"""BRATS 2018, 2020, 2021 and 2023: one folder per case, four modalities and a segmentation as NIfTI."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from pam.datasets.dataset import DATASETS, Case, Dataset, Problem
from pam.errors import DataError
from pam.study import Recipe

MODALITIES = ("T1", "T2", "T1ce", "FLAIR")
Target = Literal["et", "tc", "wt"]
Grade = Literal["HGG", "LGG", "all"]
TARGETS: dict[Target, str] = {"et": "enhancing tumour", "tc": "tumour core", "wt": "whole tumour"}
GRADES: dict[Grade, tuple[str, ...]] = {"HGG": ("HGG",), "LGG": ("LGG",), "all": ("HGG", "LGG")}
GRADE_TABLE, GRADE_COLUMN, CASE_COLUMN = "name_mapping.csv", "Grade", "BraTS_2020_subject_ID"  # of BRATS 2020
SUFFIXES = (".nii.gz", ".nii")
SIZE = (160, 160)  # the paper's centre crop
RECIPE = Recipe(epochs=80, batch_size=50, learning_rate=1e-4)  # the paper's, for BRATS 2018


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How one year's folders and files are named."""

    case: str  # regular expression of a case folder's name; its group `patient` names the patient
    files: tuple[str, ...] = ("_t1", "_t2", "_t1ce", "_flair")  # what follows the case's name, in MODALITIES' order
    mask: str = "_seg"
    subfolders: tuple[str, ...] = (".",)  # where case folders lie, under the source
    grade: Grade = "all"  # told by the source's GRADE_TABLE


# The number that ends a 2018 or 2023 name counts a patient's scans: the patient is the rest.
BRATS_2018 = Layout(case=r"(?P<patient>Brats18_.+)_\d+", subfolders=("HGG",))
BRATS_2020 = Layout(case=r"(?P<patient>BraTS20_Training_\d+)")
BRATS_2021 = Layout(case=r"(?P<patient>BraTS2021_\d+)")
BRATS_2023 = Layout(case=r"(?P<patient>BraTS-GLI-\d+)-\d+", files=("-t1n", "-t2w", "-t1c", "-t2f"), mask="-seg")


@DATASETS.register
def brats2018(*, target: Target = "et", grade: Grade = "HGG") -> Dataset:
    """BRATS 2018, by default as in the paper: enhancing tumour of the 210 high-grade training cases."""
    layout = replace(BRATS_2018, subfolders=GRADES[grade])
    folders = " and ".join(f"{name}/" for name in GRADES[grade])
    expects = f"{folders} with Brats18_X_1/Brats18_X_1_{{t1,t2,t1ce,flair,seg}}.nii.gz"
    return describe("brats2018", "BRATS 2018", layout, expects, target=target)


@DATASETS.register
def brats2020(*, target: Target = "et", grade: Grade = "all") -> Dataset:
    """BRATS 2020, training set, by its name_mapping.csv of one grade alone.

    Differs from the paper, which has no recipe for it: that of 2018.
    """
    expects = "BraTS20_Training_001/BraTS20_Training_001_{t1,t2,t1ce,flair,seg}.nii.gz"
    expects += "" if grade == "all" else f" and {GRADE_TABLE}, which tells grades"
    return describe("brats2020", "BRATS 2020", replace(BRATS_2020, grade=grade), expects, target=target)


@DATASETS.register
def brats2021(*, target: Target = "et") -> Dataset:
    """BRATS 2021, training set. Differs from the paper, which has no recipe for it: that of 2018."""
    expects = "BraTS2021_00000/BraTS2021_00000_{t1,t2,t1ce,flair,seg}.nii.gz"
    return describe("brats2021", "BRATS 2021", BRATS_2021, expects, target=target)


@DATASETS.register
def brats2023(*, target: Target = "et") -> Dataset:
    """BRATS 2023 glioma, training set. Differs from the paper, which has no recipe for it: that of 2018."""
    expects = "BraTS-GLI-00000-000/BraTS-GLI-00000-000-{t1n,t2w,t1c,t2f,seg}.nii.gz"
    return describe("brats2023", "BRATS 2023", BRATS_2023, expects, target=target, enhancing=3)


def describe(
    name: str,
    title: str,
    layout: Layout,
    expects: str,
    *,
    target: Target,
    enhancing: int = 4,
    size: tuple[int, int] = SIZE,
    recipe: Recipe = RECIPE,
    write_source: Callable[[Path], None] | None = None,
) -> Dataset:
    """A data set in one of BRATS's layouts; `enhancing` is the label of the enhancing tumour."""
    labels: dict[Target, tuple[int, ...]] = {"et": (enhancing,), "tc": (1, enhancing), "wt": (1, 2, enhancing)}
    return Dataset(
        name=name,
        title=title,
        target=TARGETS[target],
        expects=expects,
        modalities=MODALITIES,
        labels=(0, 1, 2, enhancing),
        target_labels=labels[target],
        size=size,
        zero_outside=True,
        recipe=recipe,
        reader="nifti",
        find=partial(find, layout),
        write_source=write_source,
        shown="T1ce" if target == "et" else "FLAIR",  # where contrast enhances; where oedema is bright
    )


def find(layout: Layout, source: Path) -> list[Case]:
    """Every case folder of the layout, with the problems of its files' names."""
    folders = [folder for name in layout.subfolders for folder in sorted((source / name).glob("*"))]
    matches = [(folder, re.fullmatch(layout.case, folder.name)) for folder in folders if folder.is_dir()]
    cases = [_case(layout, folder, match["patient"]) for folder, match in matches if match]
    if layout.grade == "all" or not cases:
        return cases
    grades = _grades(source / GRADE_TABLE)
    lacking = [case.case for case in cases if case.case not in grades]
    if lacking:
        raise DataError(
            f"{source / GRADE_TABLE}: no row for {lacking[0]} (cases without one: {len(lacking)}); expected one a case"
        )
    return [case for case in cases if grades[case.case] == layout.grade]


def _grades(path: Path) -> dict[str, str]:
    """Case → HGG or LGG."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return {row[CASE_COLUMN]: row[GRADE_COLUMN] for row in csv.DictReader(file)}
    except (OSError, UnicodeDecodeError, KeyError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}); expected a CSV with the columns {GRADE_COLUMN} and {CASE_COLUMN}"
        ) from error


def _case(layout: Layout, folder: Path, patient: str) -> Case:
    there = sorted(path.name for path in folder.iterdir())
    endings = (*layout.files, layout.mask)
    named = {ending: [f"{folder.name}{ending}{suffix}" for suffix in SUFFIXES] for ending in endings}
    files, problems = [], []
    for names in named.values():
        found = [name for name in names if name in there]
        files.append(folder / (found or names)[0])
        if len(found) > 1:
            message = f"both {found[0]} and {found[1]}; expected one of them, remove the other"
            problems.append(Problem(path=folder, message=message))
        if not found:
            message = (
                f"{names[0]} is missing; found {', '.join(there) or 'nothing'}; restore the file or remove the case"
            )
            problems.append(Problem(path=files[-1], message=message))
    expected = {name for names in named.values() for name in names}
    problems += [
        Problem(path=folder / name, message="no modality of this data set; it is not read", warning=True)
        for name in there
        if name.endswith(SUFFIXES) and name not in expected
    ]
    return Case(
        case=folder.name, patient=patient, images=tuple(files[:-1]), target=(files[-1],), problems=tuple(problems)
    )
