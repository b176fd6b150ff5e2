"""How much memory it takes to read a case, known from its headers before any voxel is read."""

from __future__ import annotations

from pathlib import Path

USUAL = 10**9  # bytes that a worker takes at most, but for cases of which the user is told
PROCESS = 250 * 2**20  # of a worker itself: Python, NumPy, pandas and nibabel
MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


def available() -> int | None:
    """Bytes of memory that this process may still take: of the machine, or less in a container; None if unknown."""
    if not MEMINFO.exists():
        return None
    told = dict(line.split(":") for line in MEMINFO.read_text().splitlines())
    free = int(told["MemAvailable"].split()[0]) * 1024
    limit, used = (_number(CGROUP / f"memory.{name}") for name in ("max", "current"))
    return free if limit is None or used is None else min(free, max(0, limit - used))


def _number(path: Path) -> int | None:
    text = path.read_text().strip() if path.exists() else ""
    return int(text) if text.isdecimal() else None  # "max": no limit


def workers_for(needed: int, workers: int, free: int | None) -> int:
    """As many of the workers as the memory is enough for, each of which may need so much; at least one."""
    if needed <= USUAL or free is None:
        return workers
    return max(1, min(workers, free // needed))
