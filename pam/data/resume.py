"""Notes beside an unfinished store, by which a build that was killed goes on."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pam.data.store import IMAGES, MASKS
from pam.files import write_text

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
    images, masks = (np.load(path / name, mmap_mode="r")[first : first + slices] for name in (IMAGES, MASKS))
    if slices_hash(images, masks) != about["hash"]:  # the machine failed before the slices were on its disk
        return None
    return pd.read_parquet(note.with_suffix(".parquet")), about


def slices_hash(images: np.ndarray, masks: np.ndarray) -> str:
    return hashlib.sha256(images.tobytes() + masks.tobytes()).hexdigest()
