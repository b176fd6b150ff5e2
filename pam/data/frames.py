"""PNG frames and their label images, down-sampled by a whole factor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from pam.errors import DataError

# All that Pillow raises for damaged files.
UNREADABLE = (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError)


def read(path: Path, mode: str) -> np.ndarray:
    """A PNG's pixels: uint8, h w for mode "L", h w 3 for "RGB". Raises `DataError` if it is not there or other."""
    if not path.exists():
        raise DataError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise DataError(f"{path}: the file is empty (zero bytes); copy it again")
    try:
        with Image.open(path, formats=["PNG"]) as image:
            if image.mode != mode:
                raise DataError(f"{path}: mode {image.mode}; expected {mode}")
            return np.asarray(image)
    except UNREADABLE as error:
        if isinstance(error, DataError):
            raise
        reason = " ".join(str(error).split())
        raise DataError(f"{path}: cannot be read as PNG ({reason}); copy it again") from error


def shrink(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Means (h w …, float32) of equal rectangles of pixels (H W …).

    Raises `DataError`, without the file's name, if the size does not divide the frame's.
    """
    rows, columns = pixels.shape[0] / size[0], pixels.shape[1] / size[1]
    if rows < 1 or columns < 1 or rows % 1 or columns % 1:
        raise DataError(f"{pixels.shape[:2]} pixels (rows, columns); expected a multiple of {size}")
    blocks = pixels.reshape(size[0], int(rows), size[1], int(columns), *pixels.shape[2:])
    return np.asarray(blocks.mean((1, 3), dtype=np.float32))
