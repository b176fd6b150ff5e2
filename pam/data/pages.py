"""Pages of memory-mapped files: a process holds no more of a file than it is about to use."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np


def release(array: np.ndarray) -> None:
    """Let go of what this process has touched of a memory-mapped array; any other array stays as it is.

    The pages stay in the page cache, which all processes share and which the system takes back when memory is
    wanted. Without this they count as the process's own, up to the whole file, where a scheduler or a container
    watches its memory.
    """
    mapped = _owner(array)
    if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED") and not array.flags.writeable:
        mapped.madvise(mmap.MADV_DONTNEED)


def is_mapped(array: np.ndarray) -> bool:
    """Whether the array's values lie in a file."""
    return isinstance(_owner(array), mmap.mmap)


def _owner(array: np.ndarray) -> Any:
    """What holds the memory that the array is a view of."""
    owner: Any = array
    while isinstance(owner, np.ndarray | memoryview):
        owner = owner.base if isinstance(owner, np.ndarray) else owner.obj
    return owner
