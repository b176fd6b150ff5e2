"""Files that a layout names by a pattern: each is there once, or there is a problem."""

from __future__ import annotations

import csv
from pathlib import Path, PurePosixPath

from pam.datasets.dataset import Problem
from pam.errors import DataError


def inside(folder: Path, name: str, told_by: Path) -> Path:
    """The path of a file that the data set itself names, relative to its folder.

    Raises `DataError` for an absolute path or one with "..": what a data set says must not lead out of it. Links may.
    """
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts or "\\" in name or not relative.parts:
        raise DataError(f"{told_by}: lists {name!r}; expected paths below {folder}, without '..'")
    return folder / relative


def one(folder: Path, *patterns: str) -> tuple[Path, tuple[Problem, ...]]:
    """The one file of the folder that fits any of the patterns; if there is none, where it would be."""
    found = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    if not found:
        path = folder / patterns[0]
        return path, (Problem(path=path, message="is missing; restore the file or remove the case"),)
    if len(found) > 1:
        names = " and ".join(str(path.relative_to(folder)) for path in found)
        message = f"{names} fit {patterns[0]}; expected one of them, remove the others"
        return found[0], (Problem(path=folder, message=message),)
    return found[0], ()


def patients_of(path: Path) -> dict[str, str]:
    """Case → patient, from a CSV. Raises `DataError` for one that cannot be read or lacks a column."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return {row["case"]: row["patient"] for row in csv.DictReader(file)}
    except (OSError, UnicodeDecodeError, KeyError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}); expected a CSV with the columns case and patient"
        ) from error
