"""A tracking server that goes away is told later; training does not wait, and nothing is told twice."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

OUTAGE = 60.0  # seconds
PATIENCE = 400.0  # with a server that starts on a machine that is busy


class Server:
    def __init__(self, folder: Path, empty: Path) -> None:
        """`empty`: a new MLflow store's database."""
        self.folder = folder
        self._empty = empty
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db", "--artifacts-destination", self.folder]
        address = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        if not self.folder.exists():
            self.folder.mkdir()
            shutil.copy(self._empty, self.folder / "mlflow.db")
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *words, *address],
                env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        begun = time.monotonic()
        while time.monotonic() - begun < PATIENCE:
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=10).close()
            except OSError:
                time.sleep(0.2)
            else:
                return
        raise AssertionError((self.folder / "log").read_text())

    def kill(self) -> None:
        if self.process:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture
def server(tmp_path: Path, empty_mlflow: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    one = Server(tmp_path / "server", empty_mlflow)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", one.uri)
    try:
        one.start()
        yield one
    finally:
        one.kill()


def test_a_server_that_is_away_for_a_minute_is_told_all_that_it_missed_within_the_sweep(disturbed, same, server, head):
    disturbed.plan("pause", "pause", step=5)
    process = disturbed.start(*disturbed.part, "--address", head)
    disturbed.until(disturbed.paused)
    server.kill()
    away = time.monotonic()
    disturbed.let_go_once()
    disturbed.until(lambda: "1/2" in disturbed.output() and disturbed.paused())  # training goes on
    disturbed.until(lambda: time.monotonic() - away >= OUTAGE)
    assert "MLflow does not answer" in disturbed.output()
    server.start()
    disturbed.let_go()
    assert disturbed.ended(process) == 0, disturbed.output()
    assert "MLflow is behind" not in disturbed.output()
    same()


def test_a_server_gone_for_good_costs_no_cell_and_an_empty_one_is_filled_from_the_ledger(disturbed, same, server, head):
    disturbed.plan("pause", step=5)
    process = disturbed.start(*disturbed.part, "--address", head)
    disturbed.until(disturbed.paused)
    server.kill()
    disturbed.let_go()
    assert disturbed.ended(process) == 0, disturbed.output()
    assert "MLflow is behind" in disturbed.output()
    assert "python -m pam.track sync study" in disturbed.output()
    shutil.rmtree(server.folder)
    server.start()
    for _ in range(2):  # the second time there is nothing to tell
        code, output = disturbed.sync_here()
        assert code == 0, output
        assert "study on phantom: 2 of 2 cells finished; MLflow is up to date" in output
        same()


def test_a_mirror_that_breaks_is_told_and_costs_no_cell(disturbed, same, head):
    many = {"MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": "many"}  # MLflow's own variable: it raises ValueError
    code, output = disturbed.sweep(*disturbed.part, "--address", head, **many)
    assert code == 1, output
    assert "2 cells trained, 0 done already, of 2" in output
    assert re.search(
        r"^the MLflow mirror broke \(ValueError: .*'many'.*python -m pam.track sync study$", output, re.MULTILINE
    )
    assert "Traceback" in output  # nobody foresaw it: where it happened matters
    code, output = disturbed.sync_here()
    assert code == 0, output
    same()


def test_a_database_whose_making_was_killed_is_made_anew(undisturbed, disturbed, same):
    shutil.copytree(undisturbed.home, disturbed.home, dirs_exist_ok=True)
    shutil.copy(undisturbed.folder / "steps", disturbed.folder)
    shutil.rmtree(disturbed.home / "mlflow")
    process = disturbed.start()  # it has nothing to train
    databases = [disturbed.home / "mlflow" / name for name in ("mlflow.db.partial", "mlflow.db")]
    disturbed.until(lambda: any(path.exists() and path.stat().st_size for path in databases))
    disturbed.stop(process, signal.SIGKILL)
    assert not databases[1].exists()  # it was killed in the midst of it
    code, output = disturbed.sweep_here()
    assert code == 0, output
    assert "MLflow is behind" not in output
    same(cells=4)


KILLED_AT_PARAMETERS = """
import os, runpy, signal, sys
from mlflow.tracking import MlflowClient

MlflowClient.log_batch = lambda *told, **named: os.kill(os.getpid(), signal.SIGKILL)
sys.argv = ["pam.track", "sync"]
runpy.run_module("pam.track", run_name="__main__")
"""


def test_a_run_whose_making_was_killed_is_completed_and_its_lease_cleared(undisturbed, disturbed, same):
    shutil.copytree(undisturbed.home, disturbed.home, dirs_exist_ok=True)
    shutil.copy(undisturbed.folder / "steps", disturbed.folder)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_AT_PARAMETERS], env=disturbed.environment(), cwd=disturbed.folder, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert list((disturbed.home / "leases").glob("mlflow-run-*/*"))
    code, output = disturbed.sync_here()
    assert code == 0, output
    same(cells=4)
