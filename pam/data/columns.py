"""A store's index as plain arrays: what training and scoring read, on machines without pandas too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pam.errors import DataError
from pam.files import whole

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = "index.npz"  # beside the index, column by column
Columns = Mapping[str, np.ndarray]  # name → n values; text as fixed-width unicode


def of(index: pd.DataFrame) -> dict[str, np.ndarray]:
    """The index's columns."""
    return {
        str(name): column.to_numpy() if column.dtype.kind in "biuf" else column.to_numpy().astype(str)
        for name, column in index.items()
    }


def write(folder: Path, columns: Columns) -> None:
    with whole(folder / COLUMNS) as file:
        np.savez(file, **columns)  # type: ignore[arg-type]  # a stub's keyword argument of its own


def read(folder: Path) -> dict[str, np.ndarray] | None:
    """What `write` was given; None where there is no such file. Raises `DataError` for a damaged one."""
    path = folder / COLUMNS
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: cannot be read ({error}); prepare the data set again") from error
