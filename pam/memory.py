"""Peak resident memory of this process, per cell although one process trains several."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

STATUS = Path("/proc/self/status")
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
