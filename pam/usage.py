"""What this process uses of its machine between two looks: processor time, memory, and the GPU where there is one."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import torch

STATUS = Path("/proc/self/status")


class Meter:
    """Measures from its making, and from each reading to the next."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """What there is of these by name.

        cpu_percent since the last reading, 100 for one busy core; memory_mb, resident now; and of a GPU gpu_memory_mb,
        allocated now, and gpu_percent, busy, where nvidia-ml-py is installed.
        """
        wall, cpu = time.perf_counter(), time.process_time()
        found = {"cpu_percent": round(100 * (cpu - self._cpu) / max(wall - self._wall, 1e-9), 1)}
        self._wall, self._cpu = wall, cpu
        if STATUS.exists():
            line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmRSS:"))
            found["memory_mb"] = round(int(line.split()[1]) / 1024, 1)
        if self._device.type == "cuda":
            found["gpu_memory_mb"] = round(torch.cuda.memory_allocated(self._device) / 2**20, 1)
            if importlib.util.find_spec("pynvml"):
                found["gpu_percent"] = float(torch.cuda.utilization(self._device))
        return found
