"""A case that no store holds: found by its folder, read, and cut as the store of a training was."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pam.data import scans
from pam.data.geometry import Crop, centre_crop
from pam.data.scans import Scan
from pam.data.slices import cut, scales
from pam.datasets.dataset import Case, Dataset
from pam.errors import DataError

LEVELS = 4  # folders above a case at which a layout may begin: ISLES 2022 has rawdata/sub-X/ses-1/dwi


@dataclass(frozen=True, kw_only=True)
class NewCase:
    """A case ready for a network. `scan.target` is empty where there is no truth."""

    case: Case
    scan: Scan
    images: np.ndarray  # d c h w float16
    crop: Crop

    @property
    def has_truth(self) -> bool:
        return bool(self.case.target)


def locate(dataset: Dataset, place: Path, modalities: tuple[str, ...]) -> tuple[Dataset, Case]:
    """The data set's case at this place, without its target if not all of the target's files are there.

    The place is the case's folder or, where a data set keeps cases side by side, one of its image files; with it comes
    the data set as its source folder describes it. Raises `DataError` for a place that holds no case or several, for
    the first error of the case, and where the folder tells other modalities than the networks were trained on.
    """
    if place.is_file():
        dataset, case = _of_file(dataset, place.absolute(), modalities)
    else:
        dataset, case = _in_folder(dataset, place)
    if not all(path.exists() for path in case.target):
        kept = tuple(problem for problem in case.problems if problem.path not in case.target)
        case = replace(case, target=(), problems=kept)
    for problem in case.errors:
        raise DataError(f"{problem.path}: {problem.message}")
    if dataset.modalities != modalities:
        raise DataError(
            f"{place}: {dataset.title} has the modalities {', '.join(dataset.modalities)}; "
            f"expected {', '.join(modalities)}, on which the networks were trained"
        )
    return dataset, case


def _of_file(dataset: Dataset, path: Path, modalities: tuple[str, ...]) -> tuple[Dataset, Case]:
    if dataset.of_file is None:
        raise DataError(f"{path}: a file; expected a case's folder of {dataset.title}, {dataset.expects}")
    return dataset.of_file(dataset, path, modalities)


def _in_folder(dataset: Dataset, folder: Path) -> tuple[Dataset, Case]:
    or_file = ", or an image file of a case" if dataset.of_file else ""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected a case of {dataset.title}, {dataset.expects}")
    folder = folder.absolute()
    for source in (folder, *list(folder.parents)[:LEVELS]):
        found = [case for case in dataset.find(source) if _lies_in(case, folder)]
        if found:
            break
    else:
        raise DataError(f"{folder}: no case of {dataset.title} in it; expected {dataset.expects}{or_file}")
    if len(found) > 1:
        names = ", ".join(case.case for case in found[:3]) + " …" * (len(found) > 3)
        raise DataError(f"{folder}: holds {len(found)} cases ({names}); expected one case's folder{or_file}")
    return dataset.at(source), found[0]


def read(dataset: Dataset, place: Path, size: tuple[int, int], modalities: tuple[str, ...]) -> NewCase:
    """Locate and read the case, and cut its slices (h w): as `pam.prepare` does.

    Raises `DataError` as `locate` does, and for files that are not what the data set promises.
    """
    dataset, case = locate(dataset, place, modalities)
    scan = scans.read(dataset, case)
    crop = centre_crop((scan.target.shape[1], scan.target.shape[2]), size)
    try:
        slices = cut(scan, scales(scan, dataset), crop, slice(None))
    except DataError as error:
        raise DataError(f"{place}: {error}") from error
    return NewCase(case=case, scan=scan, images=slices.images, crop=crop)


def _lies_in(case: Case, folder: Path) -> bool:
    return any(folder in path.absolute().parents for path in case.images)
