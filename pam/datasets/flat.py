"""Layouts that keep all cases' files side by side, described by one `dataset.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pam.errors import DataError


def about(source: Path, what: str) -> dict[str, Any]:
    """The description in the folder. Raises `DataError`, which says that `what` was expected."""
    path = source / "dataset.json"
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error}); expected {what}") from error
    if not isinstance(told, dict):
        raise DataError(f"{path}: a {type(told).__name__}; expected {what}")
    return told


def without_ending(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".nii")
