"""A sweep over three machines with addresses of their own, MLflow on PostgreSQL; two and MLflow are struck."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pam import cell_log, ledger, manifest
from pam.report import __main__ as report

PROGRAMS = ("ip", "unshare", "setpriv", "psql")
PATIENCE = 900.0  # a hang is told from a machine that is busy
CUT_OFF = 60.0  # seconds
CELLS = 4
MEASURED = {"train_seconds_mean", "peak_memory_mb_max", "devices"}  # columns that tell of a machine, not of a result
STUDY = """
from pam.study import Study, Variant, grid

STUDY = Study(
    question="Does the result depend on where cells are trained?",
    dataset="phantom",
    reference=Variant("held:held"),
    variants=grid(Variant("held:held"), width=[3]),
    folds=2,
    seeds=1,
    recipe={"epochs": 2, "precision": "float32"},
)
"""
# Trains only while no file `hold` lies beside it: so that every machine is in the middle of a cell when it is struck.
NETWORK = """
import time
from pathlib import Path

from torch import nn

from pam.networks.zoo import build


class Held(nn.Module):
    def __init__(self, inside):
        super().__init__()
        self.inside = inside

    def forward(self, images):
        while self.training and Path(__file__).with_name("hold").exists():
            time.sleep(0.2)
        return self.inside(images)


def held(in_channels: int, *, width: int = 2) -> nn.Module:
    return Held(build("unet", in_channels, width=width))
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3000),
    pytest.mark.skipif(
        os.geteuid() != 0 or any(shutil.which(name) is None for name in PROGRAMS),
        reason=f"takes root and {', '.join(PROGRAMS)} (Debian: iproute2 util-linux postgresql)",
    ),
]


def until(fact: Callable[[], bool], told: Callable[[], str]) -> None:
    start = time.monotonic()
    while not fact():
        assert time.monotonic() - start < PATIENCE, told()
        time.sleep(0.2)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """The folder of the study and its network."""
    (tmp_path / "study.py").write_text(STUDY)
    (tmp_path / "held.py").write_text(NETWORK)
    return tmp_path


@pytest.fixture
def three(machines, database):
    """Machines 1, 2 and 3; MLflow is to be on the first."""
    machines.environment |= {
        "MLFLOW_BACKEND_STORE_URI": database,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_TRACKING_URI": f"http://{machines.address(1)}:5000",
        "RAY_AUTH_MODE": "disabled",
        "RAY_worker_niceness": "0",
    }
    for number in (1, 2, 3):
        machines.add(number)
    return machines


def ray_node(machines, number: int) -> None:
    """A Ray node with a GPU that is none: cells that ask for one are spread as on real ones."""
    words = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1", "--num-gpus=1"]
    words += [f"--node-ip-address={machines.address(number)}", f"--object-store-memory={100 * 2**20}"]
    head = ["--head", "--port=6379", "--include-dashboard=false"]
    joins = [f"--address={machines.address(1)}:6379"]
    machines.start(number, *words, *(head if number == 1 else joins), again=True)


def mlflow_server(machines, study: Path) -> subprocess.Popen[bytes]:
    address = machines.address(1)
    words = [sys.executable, "-m", "mlflow", "server", f"--host={address}", "--port=5000", "--workers=1"]
    words += [f"--allowed-hosts={address}:5000", f"--artifacts-destination={study / 'artifacts'}"]
    return machines.start(1, *words)


def hosts(ids: list[str]) -> set[str]:
    """The machines on which a cell was begun."""
    return {line["host"] for cell_id in ids for line in cell_log.read(cell_id) if line["event"] == cell_log.STARTED}


def tables(study: Path, out: Path) -> dict[str, list[dict[str, str]]]:
    """The rows of every table that the study's report prints, but for `MEASURED`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(study)
        assert report.main([str(study / "study.py"), "--out", str(out)]) == 0
    rows = {path.name: csv.DictReader(path.read_text().splitlines()) for path in out.glob("study/*/tables/*.csv")}
    return {name: [{key: row[key] for key in row.keys() - MEASURED} for row in table] for name, table in rows.items()}


def reference(
    study: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict, dict]:
    """The study's entries by cell, trained in one process on one machine, and its tables."""
    with monkeypatch.context() as patched:
        patched.setenv("PAM_HOME", str(tmp_path_factory.mktemp("alone")))
        patched.setenv("PYTHONPATH", os.pathsep.join([str(study), os.environ.get("PYTHONPATH", "")]))
        words = [sys.executable, "-m", "pam.train", "study.py", "--all"]
        run = subprocess.run(words, cwd=study, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert run.returncode == 0, run.stdout + run.stderr
        entries = {cell["id"]: ledger.read(cell["id"]) for cell in manifest.read("study")["cells"]}
        return entries, tables(study, study / "alone")


def test_a_sweep_over_three_machines_ends_like_one_on_one_machine_whatever_befalls_two_of_them_and_mlflow(
    three, study, database, tmp_path_factory, monkeypatch
):
    alone, expected = reference(study, tmp_path_factory, monkeypatch)
    server = mlflow_server(three, study)
    for number in (1, 2, 3):
        ray_node(three, number)
    head = f"{three.address(1)}:6379"
    until(lambda: three.logs().count("Ray runtime started") == 3, three.logs)
    (study / "hold").touch()
    words = [sys.executable, "-u", "-m", "pam.sweep", str(study / "study.py")]
    words += ["--checkpoint-seconds", "0", "--address", head]
    sweep = three.start(1, *words)
    until(lambda: sweep.poll() is not None or len(hosts(list(alone))) == 3, three.logs)
    assert sweep.poll() is None, three.logs()

    three.power_off(3)
    three.cut_off(2)
    three.kill(server)
    (study / "hold").unlink()
    struck = time.monotonic()
    time.sleep(5)
    mlflow_server(three, study)
    time.sleep(max(0.0, CUT_OFF - (time.monotonic() - struck)))
    three.connect(2)
    until(lambda: sweep.poll() is not None, three.logs)
    assert sweep.returncode == 0, three.logs()

    found = {cell["id"]: ledger.read(cell["id"]) for cell in manifest.read("study")["cells"]}
    assert found.keys() == alone.keys()
    assert len(found) == CELLS
    for cell_id, entry in alone.items():
        assert found[cell_id].slices.equals(entry.slices)
        assert found[cell_id].cases.equals(entry.cases)
        assert list(found[cell_id].epochs.loss) == list(entry.epochs.loss)
    assert expected["paper.csv"] and tables(study, study / "together") == expected
    assert mirrored(database) == dict.fromkeys(alone, "FINISHED")


def mirrored(database: str) -> dict[str, str]:
    """Cell → its run's status, as the database has it."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(database)
    (experiment,) = [e for e in client.search_experiments() if e.name == "study on phantom"]
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    cells = [run for run in runs if "pam.cell" in run.data.tags]
    assert len(cells) == CELLS, "every cell has one run"
    return {run.data.tags["pam.cell"]: run.info.status for run in cells}
