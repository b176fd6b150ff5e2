"""Medical Segmentation Decathlon: any task, as its `dataset.json` describes it."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

from pam.datasets.dataset import DATASETS, Case, Dataset, Problem
from pam.datasets.flat import about, without_ending
from pam.datasets.layout import inside
from pam.datasets.options import full_name, titled
from pam.errors import DataError, StudyError
from pam.study import Recipe

WHAT = "the Decathlon's description of the task"


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
        of_file=of_file,
    )


def resolve(task: str, target: str, dataset: Dataset, source: Path) -> Dataset:
    """The data set with the task's own name, title, modalities and labels.

    Raises `DataError` if these are not told, or if the folder is another task's than was asked for.
    """
    told = about(source, WHAT)
    try:
        modalities = tuple(told["modality"][key] for key in sorted(told["modality"], key=int))
        labels = {int(key): str(name) for key, name in told["labels"].items()}
        name = re.sub(r"[^\w.-]+", "_", str(told["name"])).strip("_") or "unnamed"
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise DataError(
            f"{source / 'dataset.json'}: no name, modality or labels as in the Decathlon ({error!r})"
        ) from error
    if task not in ("", name):
        raise DataError(f"{source / 'dataset.json'}: task {name!r}; expected {task!r}, as option 'task' says")
    asked = {} if target == "all" else {"target": target}
    title = titled(f"MSD {told['name']}", asked)
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
        pairs = [(str(pair["image"]), str(pair["label"])) for pair in about(source, WHAT)["training"]]
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{source / 'dataset.json'}: field 'training' is no list of {{image, label}} ({error!r})"
        ) from error
    path = source / "dataset.json"
    return [_case(inside(source, image, path), inside(source, label, path)) for image, label in pairs]


def of_file(dataset: Dataset, path: Path, modalities: tuple[str, ...]) -> tuple[Dataset, Case]:
    """A case beside its task's training set or without one, from its image; and its data set.

    Its truth is the file of its name in the folder `labels…` that belongs to the folder `images…` it lies in.
    """
    if not path.name.endswith((".nii.gz", ".nii")):
        raise DataError(f"{path}: expected an image of {dataset.title}, such as CASE.nii.gz")
    source, name = path.parent.parent, without_ending(path)
    label = source / path.parent.name.replace("images", "labels", 1) / path.name
    if not (source / "dataset.json").exists():
        reader = "nifti" if len(modalities) == 1 else "nifti_stack"
        return replace(dataset, modalities=modalities, reader=reader), Case(
            case=name, patient=name, images=(path,), target=()
        )
    truth = (label,) if label != path and label.exists() else ()
    return dataset.at(source), Case(case=name, patient=name, images=(path,), target=truth)


def _case(image: Path, label: Path) -> Case:
    missing = [path for path in (image, label) if not path.exists()]
    message = "is missing, though dataset.json lists it; restore the file or remove its entry"
    problems = tuple(Problem(path=path, message=message) for path in missing)
    return Case(
        case=without_ending(image), patient=without_ending(image), images=(image,), target=(label,), problems=problems
    )
