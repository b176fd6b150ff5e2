"""The service as its user meets it: up, jobs from any directory, a report that outlives them, down."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest
from mlflow.tracking import MlflowClient

from pam import ledger, manifest
from pam.service import parts, processes, record
from pam.service.parts import Options
from pam.service.record import Record

STUDY = """
from pam.study import Study, Variant

STUDY = Study(
    question="Does the service work?",
    dataset="phantom",
    reference=Variant("unet", {"width": 4}),
    variants=(),
    folds=2,
    seeds=1,
    recipe={"epochs": 2, "precision": "float32"},
)
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=900, check=False)


def pam(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run(folder, sys.executable, "-m", *words)


def ray(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return pam(folder, "ray.scripts.scripts", *words)


@pytest.fixture
def service(pam_home, tmp_path, monkeypatch):
    """A service on free ports, with a Ray folder of its own; yields the words that start it."""
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "MLFLOW_TRACKING_URI", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)  # set by Ray itself, where a test started one in this process
    ray_folder = tempfile.mkdtemp(prefix="r", dir="/tmp")  # short: Ray puts sockets there, whose paths have 107 letters
    monkeypatch.setenv("RAY_TMPDIR", ray_folder)
    (tmp_path / "small.py").write_text(STUDY)
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [str(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    yield ["up", "--ray-port", ports[0], "--dashboard-port", ports[1], "--mlflow-port", ports[2], "--cpus", "1"]
    processes.stop([], record.folder())
    shutil.rmtree(ray_folder, ignore_errors=True)


def runs(uri: str) -> list:
    client = MlflowClient(uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    return [run for run in client.search_runs(experiments, max_results=1000) if "pam.cell" in run.data.tags]


def check_it_waits_for_rays_own_word(known: Record) -> None:
    """What Ray tells of its address may come last; it would replace what its clients can use."""
    ray_port, dashboard_port = (int(address.rpartition(":")[2]) for address in (known.ray, known.dashboard))
    options = Options(ray_port=ray_port, dashboard_port=dashboard_port)
    told = Path(os.environ["RAY_TMPDIR"], "ray", "ray_current_cluster")
    usable = told.read_text()
    assert usable != known.ray
    assert not parts.ray_is_up(options)
    told.write_text(known.ray)
    assert parts.ray_is_up(options)
    told.write_text(usable)


def test_a_study_goes_through_the_service_and_its_report_outlives_it(service, tmp_path, pam_home):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    study = str(tmp_path / "small.py")

    up = pam(elsewhere, "pam.service", *service)
    assert up.returncode == 0, up.stderr
    known = record.read()
    assert known is not None
    mine = [psutil.Process(pid) for pid in processes.marked(record.folder())]
    listening = {c.laddr.ip for p in mine for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    assert listening <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}, "the service listens beyond the loopback address"
    again = pam(elsewhere, "pam.service", *service)
    assert again.stdout.startswith("up already")
    assert record.read() == known
    # With other ports it is another service.
    assert [pam(elsewhere, "pam.service", word).returncode for word in ("up", "status")] == [2, 0]
    check_it_waits_for_rays_own_word(known)

    # The commands of the README, from any directory, without a variable that says where the service is.
    job = ray(elsewhere, "job", "submit", "--", "python", "-m", "pam.sweep", study)
    assert job.returncode == 0, job.stdout + job.stderr
    assert "2 cells trained" in job.stdout
    assert all(ledger.has(cell["id"]) for cell in manifest.read("small")["cells"])
    assert [run.info.status for run in runs(known.mlflow)] == ["FINISHED"] * 2
    report = pam(elsewhere, "pam.report", study)
    assert report.returncode == 0, report.stderr
    outside = pam(elsewhere, "pam.sweep", study, "--address", known.ray, "--set", "epochs=1", "--folds", "0")
    assert "1 cell trained" in outside.stdout, "a sweep outside of a job does not reach the head"
    assert any((elsewhere / "reports" / "small" / "phantom").rglob("*.md"))

    failing = [study, "--folds", "0", "--set", "learning_rate=1e30", "--set", "precision=float32"]
    failed = ray(elsewhere, "job", "submit", "--submission-id", "failing", "--", "python", "-m", "pam.sweep", *failing)
    assert failed.returncode != 0
    assert "'failing' failed" in ray(elsewhere, "job", "status", "failing").stdout
    check_a_lost_cell_is_shown(elsewhere, failed.stdout, known.mlflow)

    endless = [study, "--folds", "0", "--set", "epochs=9999"]
    submit = ("job", "submit", "--no-wait", "--submission-id")
    ray(elsewhere, *submit, "endless", "--", "python", "-m", "pam.sweep", *endless)
    wait_for(lambda: any(run.info.status == "RUNNING" for run in runs(known.mlflow)))
    wait_for(lambda: shown_by_the_dashboard() <= exported())
    check_running_cells_are_shown(elsewhere, known)
    assert ray(elsewhere, "job", "stop", "endless").returncode == 0
    assert "'endless' was stopped" in ray(elsewhere, "job", "status", "endless").stdout
    assert "interrupted" in ray(elsewhere, "job", "logs", "endless").stdout
    assert all(run.info.status != "RUNNING" for run in runs(known.mlflow)), "the stopped job left a run RUNNING"

    ray(elsewhere, *submit, "more", "--", "python", "-m", "pam.sweep", *endless)
    wait_for(lambda: any(run.info.status == "RUNNING" for run in runs(known.mlflow)))
    down = pam(elsewhere, "pam.service", "down")
    assert re.match("down; 1 running jobs were stopped", down.stdout), down.stdout + down.stderr
    assert processes.marked(record.folder()) == set()
    assert pam(elsewhere, "pam.service", "status").returncode == 1
    assert all(run.info.status != "RUNNING" for run in runs(f"sqlite:///{pam_home / 'mlflow' / 'mlflow.db'}"))
    shutil.rmtree(elsewhere / "reports")
    # The newest sweep asked for other cells, none of them finished: the earlier sweep's are asked for again.
    assert pam(elsewhere, "pam.sweep", study).returncode == 0
    assert pam(elsewhere, "pam.report", study).returncode == 0


def test_a_head_that_was_killed_is_replaced_and_its_remains_are_cleared(service, tmp_path, pam_home, new_home):
    new_home(pam_home)
    assert pam(tmp_path, "pam.service", *service).returncode == 0
    before = record.read()
    assert before is not None
    os.kill(before.processes["ray"][0], 9)
    wait_for(lambda: not before.alive("ray"))
    assert pam(tmp_path, "pam.service", "status").returncode == 1
    again = pam(tmp_path, "pam.service", *service)
    assert again.returncode == 0, again.stderr
    after = record.read()
    assert after is not None
    assert after.processes["mlflow"] == before.processes["mlflow"]
    assert after.alive("ray")
    assert pam(tmp_path, "pam.service", "down").returncode == 0
    assert processes.marked(record.folder()) == set()


def check_a_lost_cell_is_shown(folder: Path, printed: str, mlflow: str) -> None:
    """By `pam.status`, which the sweep named, with its run in MLflow, which holds its log."""
    lost = manifest.read("small")["cells"][0]["id"]
    assert f"pam.status {lost[:10]}" in printed
    (run,) = [run for run in runs(mlflow) if run.data.tags["pam.cell"] == lost]
    told = json.loads(pam(folder, "pam.status", lost, "--json").stdout)["cell"]
    assert told["mlflow"] == f"{mlflow}/#/runs/{run.info.run_id}"
    assert [file.path for file in MlflowClient(mlflow).list_artifacts(run.info.run_id, "log")] == [f"log/{lost}.jsonl"]


def check_running_cells_are_shown(folder: Path, known: record.Record) -> None:
    """By `pam.status`: how long they take, what of the node they hold, and all addresses."""
    words = ("1 running; ETA", "head, 1 of 1 CPUs, 0 GPUs", known.mlflow, known.dashboard)
    told = ""

    def shown() -> bool:
        nonlocal told
        told = pam(folder, "pam.status").stdout
        return all(each in told for each in words)

    wait_for(shown)
    assert str(folder / "reports" / "small" / "phantom") in told


def shown_by_the_dashboard() -> set[str]:
    """Metrics of cluster/monitoring/grafana.json, without those of GPUs, which no node here has."""
    path = Path(__file__).resolve().parents[2] / "cluster" / "monitoring" / "grafana.json"
    expressions = [target["expr"] for panel in json.loads(path.read_text())["panels"] for target in panel["targets"]]
    names = {name for expression in expressions for name in re.findall(r"\bray_\w+", expression)}
    return {name for name in names if not name.startswith(("ray_node_gpu", "ray_node_gram"))}


def exported() -> set[str]:
    """Metrics that the nodes export now, found as Prometheus finds them; where a target is down, it goes on."""
    found: set[str] = set()
    for entry in json.loads(Path(os.environ["RAY_TMPDIR"], "ray", "prom_metrics_service_discovery.json").read_text()):
        for target in entry["targets"]:
            # Ray also names its autoscaler's port, one for a machine: of another test's cluster or, after it, nobody's.
            with (
                contextlib.suppress(urllib.error.URLError),
                urllib.request.urlopen(f"http://{target}/metrics", timeout=10) as answer,
            ):
                found |= set(re.findall(r"^(\w+)[{ ]", answer.read().decode(), re.MULTILINE))
    return found


def wait_for(fact, seconds: float = 400) -> None:
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.5)
