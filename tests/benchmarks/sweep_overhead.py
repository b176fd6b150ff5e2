"""What a sweep costs beside its training: seconds to the first step, seconds per cell, and the driver's memory.

    python tests/benchmarks/sweep_overhead.py [--cells 300] [--starts 3]

The same trivial cells (a 1×1 convolution, one epoch on a phantom) are trained one after another by `pam.sweep` and by
`pam.train`, which needs no Ray: the difference between the two, cell by cell, is what scheduling and mirroring cost.

The first training step is timed from the command on: of it some 2.2 s are imports, 0.7 s the plan, 3 s until Ray is
up, 0.2 s preflight, 4 s until a worker trains. These are seconds of a machine's clock, which other work on it
lengthens: 14 to 16 s were seen while ten times as much ran as there are cores. `reports/benchmarks` has 300 cells on a
quiet machine. 1,000 cells were trained beside much other work only (November 2026, 2 cores), where seconds per cell
follow the machine's load: the driver's peak was 664 MB.
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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from measured import Row, finish, options, short

FIRST_STEP, OVERHEAD, DRIVER_MB = 12.0, 0.5, 1000.0

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


def measure(arguments: argparse.Namespace) -> Iterator[Row]:
    cells, cpus = arguments.cells, str(os.cpu_count())  # all of them for one cell, so that cells come one after another
    with tempfile.TemporaryDirectory(prefix="sweep_overhead-") as folder:
        work = Path(folder)
        (work / "trivial.py").write_text(NETWORK)
        (work / "costs.py").write_text(STUDY.format(seeds=cells // 2))
        (work / "pair.py").write_text(STUDY.format(seeds=1))
        local = timed(work, "local", "pam.train", "costs.py", "--all", "--cpus", cpus)
        ray = timed(work, "ray", "pam.sweep", "costs.py", "--cpus", cpus)
        starts = [timed(work, f"start{i}", "pam.sweep", "pair.py", "--cpus", cpus) for i in range(1, arguments.starts)]
    overhead = [with_ray - alone for with_ray, alone in zip(ray.gaps, local.gaps, strict=True)]
    tenth = max(len(overhead) // 10, 1)
    first, last = (statistics.median(part) for part in (overhead[:tenth], overhead[-tenth:]))
    yield Row(
        what="sweep: command to the first training step",
        unit="s",
        values=tuple(one.first_step for one in (ray, *starts)),
        most=FIRST_STEP,
        note=f"without Ray {short(local.first_step)} s",
    )
    yield Row(
        what=f"sweep: overhead per cell, {cells} trivial cells",
        unit="s",
        values=tuple(overhead),
        most=OVERHEAD,
        against="the same cells by pam.train, without Ray",
        each="cells",
        note=f"median of the first {tenth}: {short(first)} s, of the last: {short(last)} s",
    )
    yield Row(what=f"sweep: driver's peak memory, {cells} cells", unit="MB", values=(ray.peak_mb,), most=DRIVER_MB)


if __name__ == "__main__":
    arguments = options(__doc__, cells=300, starts=3).parse_args()
    sys.exit(finish(__file__, measure(arguments), arguments))
