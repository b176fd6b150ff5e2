"""Peak resident memory of this process, per cell although one process trains several; and what ran out of a GPU's."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import torch

STATUS = Path("/proc/self/status")
# What CUDA and its libraries say where PyTorch's own allocator was not asked, as when a process comes to a full GPU.
FULL = ("CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
RESET_PEAK = "5"  # proc(5): what to write to clear_refs to set the peak back to the present size


def reset_peak() -> None:
    """Start measuring anew. Without /proc the peak stays that of the process's whole life."""
    if STATUS.exists():
        Path("/proc/self/clear_refs").write_text(RESET_PEAK)


def peak_mb() -> float:
    """Peak resident memory in MiB since the last reset."""
    if STATUS.exists():
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    in_bytes = sys.platform == "darwin"
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if in_bytes else 2**10)


def out_of_gpu_memory(error: BaseException) -> bool:
    """Whether work was too large for what is free of a GPU's memory."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in FULL)
    )
