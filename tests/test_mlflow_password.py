"""An MLflow server that asks for a password: a sweep and a report use it, and the password stays nowhere."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

SECRET = "s3cretOfTheTest"
STUDY = """
from pam.study import Study, Variant

STUDY = Study(
    question="Is the password kept?",
    dataset="phantom",
    reference=Variant("unet", {"width": 2}),
    variants=(),
    folds=2,
    seeds=1,
    recipe={"epochs": 1},
)
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture
def server(tmp_path: Path, empty_mlflow: Path) -> Iterator[str]:
    """The address of a server with MLflow's basic authentication."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    folder = tmp_path / "server"
    folder.mkdir()
    shutil.copy(empty_mlflow, folder / "mlflow.db")
    environment = {
        **os.environ,
        "MLFLOW_AUTH_ADMIN_PASSWORD": SECRET,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "k" * 32,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    words = [sys.executable, "-m", "mlflow", "server", "--app-name=basic-auth", "--host=127.0.0.1", f"--port={port}"]
    words += ["--workers=1", f"--backend-store-uri=sqlite:///{folder}/mlflow.db", f"--artifacts-destination={folder}"]
    with subprocess.Popen(words, cwd=folder, env=environment, start_new_session=True) as process:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 300
        try:
            while not answers(address):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.3)
            yield address
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def test_a_sweep_and_a_report_use_the_password_and_leave_it_nowhere(server, tmp_path, pam_home, monkeypatch, one_cpu):
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "small.py").write_text(STUDY)
    said = ""

    def command(*words: str, code: int = 0) -> str:
        nonlocal said
        run = subprocess.run(
            [sys.executable, "-m", *words], cwd=folder, capture_output=True, text=True, timeout=400, check=False
        )
        said += run.stdout + run.stderr
        assert run.returncode == code, run.stdout + run.stderr
        return run.stdout + run.stderr

    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", SECRET)
    assert "2 cells trained" in command("pam.sweep", "small.py")
    assert "behind" not in said
    command("pam.report", "small.py", "--tracking-uri", server, "--out", "reports")
    assert (folder / "reports" / "small" / "phantom" / "README.md").is_file()

    # With another password nothing is shown or stored either, and the reason is told.
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", f"not-{SECRET}")
    assert "401" in command("pam.report", "small.py", "--tracking-uri", server, "--out", "refused", code=2)

    # A password in the address itself, which MLflow hands on to the server.
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name)
    within = server.replace("://", f"://admin:{SECRET}@")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", within)
    command("pam.track", "sync")
    assert SECRET not in said
    kept = [path for below in (pam_home, folder) for path in below.rglob("*") if path.is_file()]
    assert any(path.suffix == ".parquet" for path in kept)
    assert [path for path in kept if SECRET.encode() in path.read_bytes()] == []

    # And a page of another site cannot reach it through its visitor's browser.
    request = urllib.request.Request(f"{server}/api/2.0/mlflow/experiments/search", headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, timeout=10)
