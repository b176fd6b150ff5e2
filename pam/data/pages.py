"""Pages of memory-mapped files: a process holds no more of a store than it is about to use."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np


def release(array: np.ndarray) -> None:
    """Let go of what this process has touched of a memory-mapped array; any other array stays as it is.

    The pages stay in the page cache, which all processes share and which the system takes back when memory is
    wanted. Without this they count as the process's own, up to the whole store, where a scheduler or a container
    watches its memory.
    """
    mapped: Any = array.base
    if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED") and not array.flags.writeable:
        mapped.madvise(mmap.MADV_DONTNEED)
