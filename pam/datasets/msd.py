"""Medical Segmentation Decathlon: any task, as its `dataset.json` describes it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pam.datasets.dataset import DATASETS, Case, Dataset, Problem
from pam.datasets.layout import inside
from pam.datasets.options import full_name, titled
from pam.errors import DataError, StudyError
from pam.study import Recipe


@DATASETS.register
def msd(
    *,
    task: Annotated[str, "the task's name in dataset.json; told by the source folder when it is prepared"] = "",
    target: Annotated[str, "all, or a label's number"] = "all",
) -> Dataset:
    """A Decathlon task. `target` is "all" of its foreground, or one label's number.

    Each task is a data set of its own: once prepared, it is named as `msd:task=Hippocampus`.

    Differs from the paper, which does not use these sets: the recipe is that of BRATS 2018. Planes are cropped or
    padded to the largest case's.
    """
    if target != "all" and not target.isdecimal():
        raise StudyError(f"option 'target' is {target!r}; expected 'all' or a label's number")
    return Dataset(
        name="msd",
        title="Medical Segmentation Decathlon",
        target="foreground" if target == "all" else f"label {target}",
        expects="TaskNN_Name with its dataset.json, imagesTr/ and labelsTr/",
        modalities=("image",),
        labels=(0, 1),
        target_labels=(1,),
        size=None,
        zero_outside=False,
        recipe=Recipe(),
        reader="nifti",
        find=find,
        resolve=partial(resolve, task, target),
    )


def resolve(task: str, target: str, dataset: Dataset, source: Path) -> Dataset:
    """The data set with the task's own name, title, modalities and labels.

    Raises `DataError` if these are not told, or if the folder is another task's than was asked for.
    """
    about = _about(source)
    try:
        modalities = tuple(about["modality"][key] for key in sorted(about["modality"], key=int))
        labels = {int(key): str(name) for key, name in about["labels"].items()}
        name = re.sub(r"[^\w.-]+", "_", str(about["name"])).strip("_") or "unnamed"
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"{source / 'dataset.json'}: no name, modality or labels as in the Decathlon ({error!r})"
        ) from error
    if task not in ("", name):
        raise DataError(f"{source / 'dataset.json'}: task {name!r}; expected {task!r}, as option 'task' says")
    asked = {} if target == "all" else {"target": target}
    title = titled(f"MSD {about['name']}", asked)
    foreground = tuple(sorted(set(labels) - {0}))
    chosen = foreground if target == "all" else (int(target),)
    if not chosen or not set(chosen) <= set(foreground):
        raise StudyError(f"option 'target' is {target!r}; {title} has the labels {', '.join(map(str, foreground))}")
    return replace(
        dataset,
        name=full_name("msd", {"task": name, **asked}),
        title=title,
        target=" and ".join(labels[label] for label in chosen),
        modalities=modalities,
        labels=tuple(sorted({0, *labels})),
        target_labels=chosen,
        reader="nifti" if len(modalities) == 1 else "nifti_stack",
    )


def find(source: Path) -> list[Case]:
    """Every pair that `dataset.json` lists under training; no case where there is no such file."""
    if not (source / "dataset.json").exists():
        return []
    try:
        pairs = [(str(pair["image"]), str(pair["label"])) for pair in _about(source)["training"]]
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{source / 'dataset.json'}: field 'training' is no list of {{image, label}} ({error!r})"
        ) from error
    about = source / "dataset.json"
    return [_case(inside(source, image, about), inside(source, label, about)) for image, label in pairs]


def _case(image: Path, label: Path) -> Case:
    name = image.name.removesuffix(".gz").removesuffix(".nii")
    missing = [path for path in (image, label) if not path.exists()]
    message = "is missing, though dataset.json lists it; restore the file or remove its entry"
    problems = tuple(Problem(path=path, message=message) for path in missing)
    return Case(case=name, patient=name, images=(image,), target=(label,), problems=problems)


def _about(source: Path) -> dict[str, Any]:
    path = source / "dataset.json"
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}); expected the Decathlon's description of the task"
        ) from error
    if not isinstance(about, dict):
        raise DataError(f"{path}: a {type(about).__name__}; expected the Decathlon's description of the task")
    return about
