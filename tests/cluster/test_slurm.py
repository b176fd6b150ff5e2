"""The Slurm files, run by a real Slurm of one node on the loopback address."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pam import ledger

NODE = Path(__file__).with_name("one_node_slurm.sh")
NEEDED = ("slurmctld", "slurmd", "sbatch", "munged", "unshare", "ip")
STUDY = """
from pam.study import Study, Variant

STUDY = Study(
    question="Does Slurm work?",
    dataset="phantom",
    reference=Variant("unet", {"width": 4}),
    variants=(),
    folds=2,
    seeds=1,
    recipe={"epochs": 2},
)
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1600),  # of minutes, for a machine on which many work
    pytest.mark.skipif(
        os.geteuid() != 0 or any(shutil.which(name) is None for name in NEEDED),
        reason=f"takes root and {', '.join(NEEDED)} (Debian: slurmctld slurmd slurm-client munge)",
    ),
]


def on_slurm(folder: Path, script: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"}
    environment["PYTHON"] = sys.executable
    return subprocess.run(
        [NODE, folder / "slurm", "bash", "-c", script],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )


def logs(folder: Path) -> str:
    return "\n".join(f"{path}:\n{path.read_text()}" for path in sorted(folder.glob("slurm-*.out")))


def test_an_array_deals_the_cells_out_and_a_ray_job_finds_them_done_and_trains_one_more(cluster, tmp_path, pam_home):
    (tmp_path / "small.py").write_text(STUDY)
    array, ray = cluster / "slurm" / "array.sbatch", cluster / "slurm" / "ray.sbatch"
    script = f"""
        set -e
        sbatch --wait --array=0-1 {array} small.py --seeds 0
        sbatch --wait --nodes=1 --cpus-per-task=2 {ray} small.py --set epochs=3
        ! sbatch --wait --nodes=1 --cpus-per-task=2 {ray} small.py --set learning_rate=1e30 --set precision=float32
    """
    run = on_slurm(tmp_path, script)
    told = logs(tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr + told
    assert told.count("1 cell trained, 0 done already, of 1") == 2, told  # each task of the array had one
    assert "2 cells trained, 0 done already, of 2" in told
    assert sum(ledger.has(entry.name) for entry in (pam_home / "ledger").iterdir()) == 4
