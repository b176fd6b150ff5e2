"""Arrays piece by piece: those too large for memory lie in a file, of which a process holds what it looks at."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike

from pam import home
from pam.data.pages import is_mapped, release
from pam.errors import PamError

RELEASED = 2**24  # bytes of a mapped file that are looked at before they are let go of
PLANES = 2**27  # bytes of planes that are in memory at once


def keep(
    pieces: Iterable[np.ndarray],
    shape: tuple[int, ...],
    dtype: DTypeLike,
    *,
    order: Literal["C", "F"] = "C",
    on_disk: bool,
) -> np.ndarray:
    """The array of these values, which follow one another in this order; on disk or in memory.

    The file lies below PAM_HOME and has no name: it goes with the array, and with the process if that is killed.
    Raises `PamError` where it cannot be written.
    """
    if not on_disk:
        kept = np.empty(math.prod(shape), dtype)
        first = 0
        for piece in pieces:
            kept[first : first + piece.size] = piece.ravel()
            first += piece.size
        return kept.reshape(shape, order=order)
    folder = home.prepared()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        for piece in pieces:
            try:
                file.write(np.ascontiguousarray(piece, dtype).data)
                file.flush()
            except OSError as error:
                gigabytes = math.prod(shape) * np.dtype(dtype).itemsize / 1e9
                raise PamError(
                    f"{folder}: {gigabytes:.1f} GB cannot be written ({error.strerror}); set PAM_HOME to a larger disk"
                ) from error
        return np.memmap(file, dtype, "r", shape=shape, order=order)


def flat(array: np.ndarray) -> np.ndarray:
    """The values, one-dimensional, in the order in which they lie in memory: several times as fast to pass over."""
    forward = array[tuple(slice(None, None, -1 if stride < 0 else 1) for stride in array.strides)]
    return forward.transpose(np.argsort(-np.array(forward.strides), kind="stable")).reshape(-1)


def chunks(values: np.ndarray, length: int) -> Iterator[np.ndarray]:
    """One-dimensional values, so many at once."""
    seen = 0
    for first in range(0, values.size, length):
        chunk = values[first : first + length]
        yield chunk
        seen += chunk.nbytes
        if seen >= RELEASED:
            release(values)
            seen = 0
    release(values)


def rows_at_once(*arrays: np.ndarray) -> Iterator[slice]:
    """Successive rows of arrays of equal length, together `PLANES` bytes at most, but at least one of each."""
    count = len(arrays[0])
    step = max(1, PLANES * count // sum(array.nbytes for array in arrays))
    for first in range(0, count, step):
        yield slice(first, first + step)


def planes(array: np.ndarray, rows: slice) -> np.ndarray:
    """These rows, in memory: of a mapped file a copy, made along the file, so that little of it is held at a time."""
    part = array[rows]
    if not is_mapped(array):
        return part
    copy = np.empty_like(part)
    axis = int(np.argmax(np.abs(array.strides)))  # the one along which neighbours lie farthest apart
    length = part.shape[axis]
    step = max(1, RELEASED * array.shape[axis] // array.nbytes)
    for first in range(0, length, step):
        block = (*[slice(None)] * axis, slice(first, first + step))
        copy[block] = part[block]
        release(array)
    return copy
