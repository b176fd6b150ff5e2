"""All problems of all cases of a source folder, before any work."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from pam.data import parts, scans
from pam.data.pieces import planes, rows_at_once
from pam.data.processes import Count, each
from pam.data.scale import scale
from pam.datasets.dataset import Case, Dataset, Problem
from pam.errors import DataError

COLUMNS = ["severity", "case", "patient", "path", "problem"]


@dataclass(frozen=True, kw_only=True)
class Checked:
    """Every case of a source folder, with all its problems: those of its files' names, and those of their content."""

    cases: tuple[Case, ...]

    @property
    def good(self) -> list[Case]:
        return [case for case in self.cases if not case.errors]

    @property
    def bad(self) -> list[Case]:
        return [case for case in self.cases if case.errors]

    @property
    def table(self) -> pd.DataFrame:
        """One row per problem, errors first, then by case: COLUMNS."""
        rows = [
            ("warning" if problem.warning else "error", case.case, case.patient, str(problem.path), problem.message)
            for warnings in (False, True)
            for case in self.cases
            for problem in case.problems
            if problem.warning == warnings
        ]
        return pd.DataFrame(rows, columns=COLUMNS)


@dataclass(frozen=True, kw_only=True)
class _Read:
    problems: tuple[Problem, ...]
    content: dict[str, str]  # hash of each modality's voxels, for those that hold a scan


def check(dataset: Dataset, source: Path, *, workers: int, progress: Count) -> Checked:
    """Read every file of every case. Raises `DataError` only if the folder holds no case at all."""
    dataset = dataset.at(source)
    cases = dataset.find_all(source)
    read = each(partial(_read, dataset), cases, workers, progress)
    copies = _copies(cases, [result.content for result in read])
    return Checked(
        cases=tuple(
            case.with_problems((*result.problems, *copied))
            for case, result, copied in zip(cases, read, copies, strict=True)
        )
    )


def _read(dataset: Dataset, case: Case) -> _Read:
    problems: list[Problem] = []
    known = {problem.path for problem in case.problems}

    def report(path: Path, message: str) -> None:
        if path not in known or path.exists():  # the layout has told that the file is missing
            problems.append(Problem(path=path, message=message))

    found = parts.read(dataset, case, report)
    folder = case.files[0].parent if case.files else Path(case.case)
    content: dict[str, str] = {}
    for name, path, voxels in zip(dataset.modalities, _paths(dataset, case, folder), found.images, strict=True):
        if voxels is None:
            continue
        try:
            scale(voxels, name, zero_outside=dataset.zero_outside)
        except DataError as error:
            report(path, str(error))
            continue
        content[name] = _hash(voxels)
        twins = [other for other in content if other != name and content[other] == content[name]]
        if twins:
            message = f"modality {name} equals {twins[0]}, voxel for voxel; was one copied over the other?"
            problems.append(Problem(path=path, message=message, warning=True))
    if found.labels is not None and not scans.has_target(found.labels, dataset):
        message = f"no voxel of the target ({dataset.target})"
        problems.append(Problem(path=case.target[0], message=message, warning=True))
    return _Read(problems=tuple(problems), content=content)


def _hash(voxels: np.ndarray) -> str:
    """Of a modality's values (d h w), whatever their type; plane by plane, to copy no more."""
    digest = hashlib.sha256()
    for rows in rows_at_once(voxels):
        for plane in planes(voxels, rows):
            digest.update(np.ascontiguousarray(plane, dtype=np.float32).data)
    return digest.hexdigest()


def _paths(dataset: Dataset, case: Case, folder: Path) -> Sequence[Path]:
    """Where each modality lies: its file, or the case's folder where files hold all modalities."""
    one_each = dataset.reader == "nifti" and len(case.images) == len(dataset.modalities)
    return case.images if one_each else [folder] * len(dataset.modalities)


def _copies(cases: Sequence[Case], contents: Sequence[dict[str, str]]) -> list[list[Problem]]:
    """For each case a problem for each other that shares a modality's voxels: leakage, unless the patient is one."""
    holders: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, content in enumerate(contents):
        for modality, digest in content.items():
            holders[modality, digest].append(number)
    shared: dict[tuple[int, int], list[str]] = defaultdict(list)
    for (modality, _), numbers in holders.items():
        for one in numbers:
            for other in numbers:
                if one != other:
                    shared[one, other].append(modality)
    problems: list[list[Problem]] = [[] for _ in cases]
    for (one, other), modalities in sorted(shared.items()):
        problems[one].append(_copy(cases[one], cases[other], modalities))
    return problems


def _copy(case: Case, other: Case, modalities: Sequence[str]) -> Problem:
    what = f"{', '.join(modalities)} equal to case {other.case} voxel for voxel"
    if case.patient == other.patient:
        return Problem(path=case.images[0].parent, message=f"{what}, of the same patient", warning=True)
    message = f"{what}, of patient {other.patient}: training and test scans would be one; remove the copy"
    return Problem(path=case.images[0].parent, message=message)
