"""What it takes to read a case, known from its headers before any voxel is read: of memory, and of the disk."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from pam.data.nifti import Size
from pam.data.pieces import PLANES

WORKER = 10**9  # bytes that a worker takes at most, but for cases of which the user is told
PROCESS = 250 * 2**20  # of a worker itself: Python, NumPy, pandas and nibabel
HELD = 500 * 2**20  # of a case: a larger one is read to disk
CUT = 32  # bytes, at most, that a pixel takes while a modality's plane is cut and normalised


@dataclass(frozen=True, kw_only=True)
class Room:
    """Bytes that a worker needs for a case."""

    memory: int  # besides what the process itself takes
    disk: int  # 0: the case is read to memory

    @property
    def told(self) -> bool:
        """Whether the user must be told: it is more than workers usually take."""
        return PROCESS + self.memory > WORKER


def of_volumes(sizes: Iterable[Size], resampled: int) -> Room:
    """For files of these sizes, so many of which are brought to another's grid, and for the target."""
    sizes = tuple(sizes)
    if not sizes:
        return Room(memory=0, disk=0)
    values, voxels = sum(size.values for size in sizes), max(math.prod(size.shape) for size in sizes)
    floats = 4 * voxels * resampled
    held = values + max(size.besides for size in sizes) + voxels + 2 * floats
    if held <= HELD:
        return Room(memory=held, disk=0)
    plane = sum(size.values // size.shape[0] for size in sizes) + CUT * max(math.prod(size.shape[1:]) for size in sizes)
    unpacked = sum(size.stored for size in sizes if size.packed)
    converted = sum(size.values for size in sizes if size.converted)
    return Room(
        memory=max(2 * PLANES, plane) + (floats and 4 * voxels),
        disk=unpacked + converted + voxels + 2 * floats,
    )
