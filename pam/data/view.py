"""The slice of a case that figures show, and masks as bits."""

from __future__ import annotations

import numpy as np

VIEW = "the slice with the largest target (of a case without one: with the most brain)"


def view_slice(target_pixels: np.ndarray, brain_pixels: np.ndarray) -> int:
    """Position of the slice to show among a case's slices, each array (d): `VIEW`, the first of equals."""
    return int(np.argmax(target_pixels if target_pixels.any() else brain_pixels))


def packed(mask: np.ndarray) -> bytes:
    """A mask (h w, bool) as bits, row by row, the first pixel in the highest bit."""
    return np.packbits(mask.astype(bool)).tobytes()


def unpacked(bits: bytes, height: int, width: int) -> np.ndarray:
    """The mask (h w, bool) that `packed` packed."""
    pixels = np.unpackbits(np.frombuffer(bits, np.uint8), count=height * width)
    return pixels.reshape(height, width).astype(bool)
