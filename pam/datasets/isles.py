"""ISLES 2018 (CT perfusion, SMIR's folders) and ISLES 2022 (diffusion MRI, BIDS)."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from pam.datasets.dataset import DATASETS, Case, Dataset
from pam.datasets.layout import one, patients_of
from pam.errors import DataError
from pam.study import Recipe

MAPS = ("CBF", "MTT", "CBV", "Tmax")  # the paper's order
RECIPE_2018 = Recipe(epochs=60, batch_size=80, learning_rate=1e-3)  # the paper's
UNGROUPED = "no patients=FILE given: each case counts as a patient, though the 94 cases come from 63 patients"


@DATASETS.register
def isles2018(*, patients: Annotated[str, "a CSV file with the columns case and patient"] = "") -> Dataset:
    """ISLES 2018, training set. `patients` names a CSV with the columns case and patient.

    Differs from the paper: nothing known; it does not say whether air counts in the normalisation. Here it does, since
    a map's 0 (Tmax) is a measurement inside the brain, too.
    """
    return describe_2018("isles2018", "ISLES 2018", patients=patients)


def describe_2018(name: str, title: str, *, patients: str = "", **changes: object) -> Dataset:
    """A data set in the layout of ISLES 2018."""
    description: dict[str, object] = {
        "name": name,
        "title": title,
        "target": "stroke lesion",
        "expects": "TRAINING/case_1/SMIR.Brain.XX.O.CT_{CBF,CBV,MTT,Tmax}.ID/*.nii and …O.OT.ID/*.nii",
        "modalities": MAPS,
        "labels": (0, 1),
        "target_labels": (1,),
        "size": (224, 224),
        "zero_outside": False,
        "recipe": RECIPE_2018,
        "split": "ratio",  # the paper's 0.7 : 0.1 : 0.2
        "reader": "nifti",
        "find": partial(find_2018, Path(patients).absolute() if patients else None),
        "note": "" if patients else UNGROUPED,
        "stand_in": "phantom_isles",
        "of_the_source": ("patients",),
    }
    return Dataset(**{**description, **changes})  # type: ignore[arg-type]


def find_2018(patients: Path | None, source: Path) -> list[Case]:
    """Every `case_N` of TRAINING. Raises `DataError` for a patients' file that lacks a case."""
    folders = [folder for folder in sorted(source.glob("TRAINING/case_*")) if folder.is_dir()]
    groups = patients_of(patients) if patients else {folder.name: folder.name for folder in folders}
    lacking = [folder.name for folder in folders if folder.name not in groups]
    if lacking:
        raise DataError(f"{patients}: no row for {lacking[0]} (cases without one: {len(lacking)}); expected one a case")
    return [_case_2018(folder, groups[folder.name]) for folder in folders]


def _case_2018(folder: Path, patient: str) -> Case:
    kinds = [*(f"CT_{name}" for name in MAPS), "OT"]
    found = [one(folder, f"*.{kind}.*/*.nii", f"*.{kind}.*/*.nii.gz") for kind in kinds]
    *images, target = (path for path, _ in found)
    problems = tuple(problem for _, faults in found for problem in faults)
    return Case(case=folder.name, patient=patient, images=tuple(images), target=(target,), problems=problems)


@DATASETS.register
def isles2022(*, flair: Literal["leave_out", "resample"] = "leave_out") -> Dataset:
    """ISLES 2022, training set. FLAIR lies on a grid of its own: `flair` leaves it out or resamples it to DWI's.

    Differs from the paper, which does not use this set: the recipe is that of ISLES 2018.
    """
    modalities = ("DWI", "ADC", *(["FLAIR"] if flair == "resample" else []))
    return Dataset(
        name="isles2022",
        title="ISLES 2022",
        target="stroke lesion",
        expects="rawdata/sub-X/ses-0001/*_{dwi,adc,flair}.nii.gz and derivatives/sub-X/ses-0001/*_msk.nii.gz",
        modalities=modalities,
        labels=(0, 1),
        target_labels=(1,),
        size=None,
        zero_outside=True,
        recipe=RECIPE_2018,
        reader="nifti",
        find=partial(find_2022, modalities),
        resampled=modalities[2:],
        shown="DWI",
        stand_in="phantom_isles",
    )


def find_2022(modalities: tuple[str, ...], source: Path) -> list[Case]:
    """Every session of every subject under rawdata."""
    sessions = [folder for folder in sorted(source.glob("rawdata/sub-*/ses-*")) if folder.is_dir()]
    return [_case_2022(source, session, modalities) for session in sessions]


def _case_2022(source: Path, session: Path, modalities: tuple[str, ...]) -> Case:
    subject = session.parent.name
    # BIDS nests by kind of scan (dwi/, anat/); the published set does, too, in some of its versions.
    found = [one(session, f"**/*_{name.lower()}.nii.gz", f"**/*_{name.lower()}.nii") for name in modalities]
    mask, faults = one(source / "derivatives" / subject / session.name, "**/*_msk.nii.gz", "**/*_msk.nii")
    return Case(
        case=f"{subject}_{session.name}",
        patient=subject,
        images=tuple(path for path, _ in found),
        target=(mask,),
        problems=(*(problem for _, missing in found for problem in missing), *faults),
    )
