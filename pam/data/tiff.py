"""TIFF slices of 8 bits: read and checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from pam.errors import DataError

# All that Pillow raises for damaged files.
UNREADABLE = (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError)
MODES = {1: "L", 3: "RGB"}


def read(path: Path, channels: int) -> np.ndarray:
    """The slice's pixels: uint8, h w for one channel, else h w c.

    Raises `DataError` if it is missing, damaged or of another type.
    """
    try:
        with _open(path, channels) as image:
            return np.asarray(image)
    except UNREADABLE as error:
        raise _unreadable(path, error) from error


def read_shape(path: Path, channels: int) -> tuple[int, int]:
    """The slice's (h, w), from its header alone. Raises `DataError` as `read` does."""
    with _open(path, channels) as image:
        return image.height, image.width


def _open(path: Path, channels: int) -> Image.Image:
    if not path.exists():
        raise DataError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty (zero bytes); copy it again")
    try:
        image = Image.open(path, formats=["TIFF"])
    except UNREADABLE as error:
        raise _unreadable(path, error) from error
    if image.mode != MODES[channels]:
        raise DataError(f"{path}: mode {image.mode}; expected {channels} × 8 bits ({MODES[channels]})")
    return image


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: cannot be read as TIFF ({' '.join(str(error).split())}); copy it again")
