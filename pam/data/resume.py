"""Notes beside an unfinished store, by which a build that was killed goes on."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import pandas as pd

from pam.data.store import IMAGES, MASKS
from pam.files import write_text

AT_ONCE = 2**22  # bytes that are hashed at once
DONE = "done"  # folder of the notes, one pair of files per stored case, named by the case's first row


def start(path: Path) -> None:
    (path / DONE).mkdir(parents=True, exist_ok=True)


def finish(path: Path) -> None:
    shutil.rmtree(path / DONE)


def mark(path: Path, first: int, index: pd.DataFrame, about: dict[str, Any]) -> None:
    """Note that a case is stored; the note is there whole or not at all."""
    note = path / DONE / f"{first}.json"
    index.to_parquet(note.with_suffix(".parquet"))
    write_text(note, json.dumps(about))


def stored(path: Path, first: int, slices: int) -> tuple[pd.DataFrame, dict[str, Any]] | None:
    """What `mark` was given for a case, if the store still holds the slices that it noted."""
    note = path / DONE / f"{first}.json"
    if not note.exists():
        return None
    about: dict[str, Any] = json.loads(note.read_text())
    if slices_hash(path, first, slices) != about["hash"]:  # the machine failed before the slices were on its disk
        return None
    return pd.read_parquet(note.with_suffix(".parquet")), about


def slices_hash(path: Path, first: int, slices: int) -> str:
    """Of the slices that the store holds at these rows: images, then masks."""
    digest = hashlib.sha256()
    for name in (IMAGES, MASKS):
        with rows_of(path / name, first, "rb") as (file, bytes_per_row):
            left = slices * bytes_per_row
            while left:
                read = file.read(min(left, AT_ONCE))
                digest.update(read)
                left -= len(read)
    return digest.hexdigest()


@contextmanager
def rows_of(path: Path, first: int, mode: Literal["rb", "r+b"]) -> Iterator[tuple[BinaryIO, int]]:
    """A .npy file, opened where a row begins, and the bytes of a row.

    A full disk is an error then, where a memory map would be a crash, and what was read is not held in memory.
    """
    array = np.load(path, mmap_mode="r")
    with path.open(mode) as file:
        file.seek(array.offset + first * array.strides[0])
        yield file, array.strides[0]
