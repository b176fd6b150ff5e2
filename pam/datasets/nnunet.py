"""A data set in nnU-Net's raw layout: `DatasetNNN_Name` with imagesTr/CASE_0000.nii.gz, labelsTr and dataset.json."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pam.datasets.dataset import DATASETS, Case, Dataset, Problem
from pam.datasets.flat import about, without_ending
from pam.datasets.layout import inside, patients_of
from pam.datasets.options import full_name, titled
from pam.errors import DataError, StudyError
from pam.study import Recipe

ENDINGS = (".nii.gz", ".nii")
WHAT = "nnU-Net's description of the data set (version 2)"
UNGROUPED = "no patients=FILE given: each case counts as a patient"


@DATASETS.register
def nnunet(
    *,
    task: Annotated[str, "the folder's name without its number; told by the source folder when it is prepared"] = "",
    target: Annotated[str, "all, or labels' numbers, such as 2 or 1+3"] = "all",
    patients: Annotated[str, "a CSV file with the columns case and patient"] = "",
) -> Dataset:
    """A raw data set of nnU-Net, version 2: `target` is all of its foreground, or the labels of these numbers.

    Each is a data set of its own: once prepared, it is named as `nnunet:task=Prostate`. Regions are sets of labels:
    name a region by them (1+3). Several scans of a patient need `patients`, or they may be trained and tested on.

    Differs from the paper, which does not use such sets: the recipe is that of BRATS 2018. Slices are normalised and
    cropped as this project does, not as nnU-Net plans. Planes are cropped or padded to the largest case's.
    """
    if target != "all" and not re.fullmatch(r"\d+(\+\d+)*", target):
        raise StudyError(f"option 'target' is {target!r}; expected 'all' or labels' numbers, such as 2 or 1+3")
    return Dataset(
        name="nnunet",
        title="nnU-Net raw data",
        target="foreground" if target == "all" else f"label {target}",
        expects="DatasetNNN_Name with its dataset.json, imagesTr/CASE_0000.nii.gz … and labelsTr/CASE.nii.gz",
        modalities=("image",),
        labels=(0, 1),
        target_labels=(1,),
        size=None,
        zero_outside=False,
        recipe=Recipe(),
        reader="nifti",
        find=partial(find, Path(patients).absolute() if patients else None),
        resolve=partial(resolve, task, target),
        of_file=of_file,
        note="" if patients else UNGROUPED,
        of_the_source=("patients",),
    )


def resolve(task: str, target: str, dataset: Dataset, source: Path) -> Dataset:
    """The data set with its own name, title, modalities and labels.

    Raises `DataError` if these are not told, or if the folder is another data set's than was asked for.
    """
    told, path = about(source, WHAT), source / "dataset.json"
    channels, labels = _channels(told, path), _labels(told, path)
    name = _name(told, source)
    if task not in ("", name):
        raise DataError(f"{source}: data set {name!r}; expected {task!r}, as option 'task' says")
    foreground = sorted({value for values in labels.values() for value in values} - {0})
    chosen = tuple(foreground) if target == "all" else tuple(sorted({int(number) for number in target.split("+")}))
    asked = {} if target == "all" else {"target": target}
    title = titled(f"nnU-Net {name}", asked)
    if not chosen or not set(chosen) <= set(foreground):
        raise StudyError(f"option 'target' is {target!r}; {title} has the labels {', '.join(map(str, foreground))}")
    exact = [region for region, values in labels.items() if set(values) == set(chosen)]
    parts = [region for region, values in labels.items() if set(values) <= set(chosen) and values != (0,)]
    return replace(
        dataset,
        name=full_name("nnunet", {"task": name, **asked}),
        title=title,
        target=exact[0] if exact else " and ".join(parts),
        modalities=channels,
        labels=tuple(sorted({0, *foreground})),
        target_labels=chosen,
    )


def find(patients: Path | None, source: Path) -> list[Case]:
    """Every case of `labelsTr` or `imagesTr`, or those that `dataset.json` lists; none where there is no such file."""
    if not (source / "dataset.json").exists():
        return []
    told, path = about(source, WHAT), source / "dataset.json"
    count = len(_channels(told, path))
    ending = _ending(told, path)
    if isinstance(told.get("dataset"), dict):
        files: dict[str, tuple[tuple[Path, ...], Path | None]] = _listed(told["dataset"], source, count)
    else:
        # Not those that begin with a dot: copies made by macOS leave such files behind.
        labels = {without_ending(path) for path in source.glob(f"labelsTr/[!.]*{ending}")}
        images = {without_ending(path) for path in source.glob(f"imagesTr/[!.]*{ending}")}
        names = sorted(labels | {image[:-5] for image in images if _is_image(image)})
        files = {case: (_files(source / "imagesTr", case, ending, count), None) for case in names}
    groups = patients_of(patients) if patients else {case: case for case in files}
    lacking = sorted(files.keys() - groups.keys())
    if lacking:
        raise DataError(f"{patients}: no row for {lacking[0]} (cases without one: {len(lacking)}); expected one a case")
    return [
        _case(case, groups[case], images, label or source / "labelsTr" / f"{case}{ending}")
        for case, (images, label) in files.items()
    ]


def of_file(dataset: Dataset, path: Path, modalities: tuple[str, ...]) -> tuple[Dataset, Case]:
    """A case beside its training set or without one, from one of its files, CASE_0000 say; and its data set.

    Its truth is the mask of its name in the folder `labels…` that belongs to the folder `images…` it lies in.
    """
    ending = next((ending for ending in ENDINGS if path.name.endswith(ending)), None)
    if ending is None or not _is_image(without_ending(path)):
        raise DataError(f"{path}: expected an image of {dataset.title}, such as CASE_0000.nii.gz")
    source, case = path.parent.parent, without_ending(path)[:-5]
    images = _files(path.parent, case, ending, len(modalities))
    label = source / path.parent.name.replace("images", "labels", 1) / f"{case}{ending}"
    described = dataset.at(source) if (source / "dataset.json").exists() else replace(dataset, modalities=modalities)
    truth = (source / "dataset.json").exists() and label != images[0] and label.exists()
    found = _case(case, case, images, label if truth else None)
    return described, found


def _case(case: str, patient: str, images: tuple[Path, ...], label: Path | None) -> Case:
    files = images if label is None else (*images, label)
    problems = [
        Problem(path=path, message="is missing; restore the file or remove the case")
        for path in files
        if not path.exists()
    ]
    beyond = images[0].parent / images[0].name.replace("_0000", f"_{len(images):04d}")
    if images[0].name.endswith(("_0000.nii.gz", "_0000.nii")) and beyond.exists():
        message = f"no channel of this data set, which has {len(images)}; it is not read"
        problems.append(Problem(path=beyond, message=message, warning=True))
    target = () if label is None else (label,)
    return Case(case=case, patient=patient, images=images, target=target, problems=tuple(problems))


def _files(folder: Path, case: str, ending: str, count: int) -> tuple[Path, ...]:
    return tuple(folder / f"{case}_{number:04d}{ending}" for number in range(count))


def _listed(cases: dict[str, Any], source: Path, count: int) -> dict[str, tuple[tuple[Path, ...], Path | None]]:
    """Cases whose files lie where `dataset.json` says, relative to its folder."""
    path = source / "dataset.json"
    found: dict[str, tuple[tuple[Path, ...], Path | None]] = {}
    for case, files in cases.items():
        try:
            images, label = [str(image) for image in files["images"]], str(files["label"])
        except (KeyError, TypeError) as error:
            raise DataError(f"{path}: field 'dataset': {case!r} is no {{images, label}} ({error!r})") from error
        if len(images) != count:
            raise DataError(f"{path}: field 'dataset': {case!r} lists {len(images)} images; expected {count} channels")
        found[case] = tuple(inside(source, image, path) for image in images), inside(source, label, path)
    return found


def _is_image(name: str) -> bool:
    return re.fullmatch(r".+_\d{4}", name) is not None


def _name(told: dict[str, Any], source: Path) -> str:
    folder = re.fullmatch(r"Dataset\d+_(?P<name>.+)", source.resolve().name)
    name = folder["name"] if folder else str(told.get("name") or source.resolve().name)
    return re.sub(r"[^\w.-]+", "_", name).strip("_") or "unnamed"


def _channels(told: dict[str, Any], path: Path) -> tuple[str, ...]:
    try:
        names = told["channel_names"]
        channels = tuple(str(names[key]) for key in sorted(names, key=int))
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        version_1 = "; version 1 calls it 'modality': convert the data set" if "modality" in told else ""
        raise DataError(f"{path}: no field 'channel_names' as in nnU-Net, version 2 ({error!r}){version_1}") from error
    repeated = {name for name in channels if channels.count(name) > 1}
    if not channels or repeated:
        raise DataError(f"{path}: channel_names are {', '.join(channels) or 'none'}; expected names that differ")
    return channels


def _labels(told: dict[str, Any], path: Path) -> dict[str, tuple[int, ...]]:
    """Label or region → its values."""
    try:
        items = {str(name): value if isinstance(value, list) else [value] for name, value in told["labels"].items()}
        labels = {name: tuple(int(value) for value in values) for name, values in items.items()}
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: field 'labels' is not name → number as in nnU-Net, version 2 ({error!r})") from error
    if "ignore" in labels:
        raise DataError(f"{path}: has the label 'ignore', which pam has no notion of; give these voxels a label")
    return labels


def _ending(told: dict[str, Any], path: Path) -> str:
    ending = told.get("file_ending")
    if ending not in ENDINGS:
        raise DataError(f"{path}: file_ending is {ending!r}; expected {' or '.join(ENDINGS)}: convert the images")
    return str(ending)
