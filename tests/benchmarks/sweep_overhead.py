"""What a sweep costs beside its training: seconds to the first step, seconds per cell, and the driver's memory.

    python tests/benchmarks/sweep_overhead.py --cells 1000

The same trivial cells (a 1×1 convolution, one epoch on a phantom) are trained one after another by `pam.sweep` and by
`pam.train`, which needs no Ray: the difference between the two, cell by cell, is what scheduling and mirroring cost.

Measured on 2 cores (CPU, November 2026), on a machine that was never quiet:

first training step  9.9, 10.2 and 11.4 s after the command, three runs in a row when least else ran: 2.2 s of imports,
                     0.7 s to plan, 2.7 to 3.8 s until Ray is up, 0.2 s of preflight, 4 s until a worker trains;
                     14 to 16 s while ten times as much ran as there are cores. Without Ray: 3.4 s
overhead per cell    0.12 s, the median over 20 cells
1,000 cells          the driver's peak 664 MB (577 MB with 20 cells); seconds per cell followed the machine's load:
                     median 1.3 over the first hundred, 0.4 over the eighth and the ninth, so they do not grow
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

NETWORK = """
import time
from pathlib import Path

from torch import nn

STARTED = Path(__file__).with_name("first_step")


class Trivial(nn.Conv2d):
    def forward(self, images):
        if self.training and not STARTED.exists():
            STARTED.write_text(repr(time.time()))
        return super().forward(images)


def trivial(in_channels: int, *, padding: int = 0) -> nn.Module:
    return Trivial(in_channels, 1, 1, padding=padding)
"""
STUDY = """
from pam.study import Study, Variant

STUDY = Study(
    question="What does a sweep cost?", dataset="phantom", reference=Variant("trivial:trivial"), variants=(), folds=2,
    seeds={seeds}, recipe={{"epochs": 1}},
)
"""


@dataclass(frozen=True, kw_only=True)
class Timed:
    """A command that trained every cell: seconds to the first training step, between cells' ends, and peak MB."""

    first_step: float
    gaps: list[float]
    peak_mb: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=100)
    cells = parser.parse_args().cells
    with tempfile.TemporaryDirectory(prefix="sweep_overhead-") as folder:
        work = Path(folder)
        (work / "trivial.py").write_text(NETWORK)
        (work / "costs.py").write_text(STUDY.format(seeds=cells // 2))
        cpus = str(os.cpu_count())  # all of them for one cell, so that cells come one after another
        local = timed(work, "local", "pam.train", "costs.py", "--all", "--cpus", cpus)
        ray = timed(work, "ray", "pam.sweep", "costs.py", "--cpus", cpus)
    overhead = [with_ray - alone for with_ray, alone in zip(ray.gaps, local.gaps, strict=True)]
    tenth = max(len(overhead) // 10, 1)
    print(f"{cells} cells, {cpus} CPUs")
    print(f"command to first training step: {ray.first_step:.1f} s (without Ray: {local.first_step:.1f} s)")
    print(
        f"per cell: {statistics.median(ray.gaps):.3f} s, of which overhead (median) {statistics.median(overhead):.3f} s"
    )
    for words, part in (("first", overhead[:tenth]), ("last", overhead[-tenth:])):
        print(f"  {words} {tenth} cells: {statistics.median(part):.3f} s")
    print(f"driver's peak memory: {ray.peak_mb:.0f} MB")


def timed(work: Path, name: str, module: str, *words: str) -> Timed:
    home = work / name
    environment = {**os.environ, "PAM_HOME": str(home)}
    environment["PYTHONPATH"] = os.pathsep.join([str(work), os.environ.get("PYTHONPATH", "")])
    prepare = [sys.executable, "-c", "from pam.sweep.request import open_store; open_store('phantom')"]
    subprocess.run(prepare, cwd=work, env=environment, check=True)
    (work / "first_step").unlink(missing_ok=True)
    start, ends, peak = time.time(), [], 0.0
    command = [sys.executable, "-u", "-m", module, *words]
    with subprocess.Popen(command, cwd=work, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "trivial" in line and ", fold " in line:
                ends.append(time.monotonic())
                peak = max(peak, resident_mb(process.pid))
    if process.returncode:
        raise SystemExit(f"{module} ended with {process.returncode}")
    first = float((work / "first_step").read_text()) - start
    return Timed(first_step=first, gaps=[b - a for a, b in itertools.pairwise(ends)], peak_mb=peak)


def resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return max((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), default=0.0)


if __name__ == "__main__":
    main()
