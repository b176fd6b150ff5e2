"""Before its first cell, a sweep finds what would stop it, names every problem at once, and never waits for long."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pam.cli import guarded
from pam.data.prepare import prepare
from pam.data.store import Store
from pam.datasets import DATASETS
from pam.errors import PamErrors
from pam.study import Study, Variant
from pam.sweep import disk, nodes, preflight, schedule
from pam.sweep.plan import plan
from pam.sweep.schedule import Resources

# `ray start` listens on every address of the machine; this, as `cluster_utils` does it, on the loopback alone.
NODE = """
import sys, time
from ray._private.node import Node
from ray._private.parameter import RayParams
options = {"node_ip_address": "127.0.0.1", "num_cpus": 1, "object_store_memory": 150 * 2**20, "node_manager_port": 0}
options |= {"min_worker_port": 0, "max_worker_port": 0, "include_log_monitor": False}
options |= {"dashboard_agent_listen_port": None}
Node(RayParams(gcs_address=sys.argv[1], redis_address=sys.argv[1], **options), head=False)
time.sleep(600)
"""
STUDY = Study(
    question="?",
    dataset="phantom",
    reference=Variant("unet", {"width": 2}, label="unet"),
    variants=(),
    folds=2,
    seeds=1,
)


@pytest.fixture
def store() -> Store:
    return prepare(DATASETS.build("phantom"))


@pytest.fixture(scope="module")
def joined() -> Iterator[None]:
    with schedule.cluster("local"):
        yield


def problems(planned, store, resources, uri) -> list[str]:
    expected = disk.needed(planned, store, at_once=1, keep_weights=True, mirrored=True)
    try:
        preflight.check(store, resources, uri, expected)
    except PamErrors as error:
        return list(error.lines)
    return []


def sqlite(home: Path) -> str:
    return f"sqlite:///{home}/mlflow/mlflow.db"


# Above the tests that stay joined to a cluster: a process joins one at a time.
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(os.geteuid() != 0, reason="a node with storage of its own takes a mount, and root")
def test_a_node_with_storage_of_its_own_and_one_that_does_not_answer_are_named(
    store, pam_home, tmp_path, start_cluster
):
    head = start_cluster(num_cpus=1)
    start = f'mount -t tmpfs tmpfs {pam_home} && exec {sys.executable} -c "$0" {head.address}'
    with (tmp_path / "log").open("w") as log:
        node = subprocess.Popen(["unshare", "--mount", "sh", "-c", start, NODE], stdout=log, stderr=log)
    try:
        with schedule.cluster(head.address):
            deadline = time.monotonic() + 60
            while len(nodes.nodes()) < 2:
                assert time.monotonic() < deadline and node.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.2)
            found = problems(plan(STUDY, store), store, Resources(), sqlite(pam_home))
            assert len(found) == 2
            assert re.match(rf"node .*: {pam_home} is not what it is here; set PAM_HOME to storage", found[0])
            assert re.match(rf"node .*: {store.path}: no slice store .*prepare the data set again", found[1])

            (raylet,) = [p for p in psutil.Process(node.pid).children(recursive=True) if "raylet" in p.name()]
            raylet.send_signal(signal.SIGSTOP)
            begun = time.monotonic()
            found = problems(plan(STUDY, store), store, Resources(), sqlite(pam_home))
            raylet.send_signal(signal.SIGCONT)
            assert time.monotonic() - begun < 30
            assert len(found) == 1
            assert re.match(r"node .*: no answer within 20 s; is it up", found[0])
    finally:
        if node.poll() is None:
            for process in [*psutil.Process(node.pid).children(recursive=True), node]:
                process.kill()
        head.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_cluster_that_does_not_come_up_in_time_is_started_anew():
    script = """
import threading, time
import psutil
from pam.sweep import schedule

def freeze():
    while not (found := [p for p in psutil.Process().children() if "raylet" in p.name()]):
        time.sleep(0.01)
    found[0].suspend()
    frozen.append(found[0])

frozen = []
threading.Thread(target=freeze, daemon=True).start()
with schedule.cluster(None):
    (node,) = schedule.ray.nodes()
    print("alive", node["Alive"], "left", frozen[0].is_running())
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=400, check=False)
    assert run.stdout == "alive True left False\n", run.stdout + run.stderr


def test_a_cluster_that_can_run_the_cells_has_no_problem(joined, store, pam_home):
    before = {path.name for path in pam_home.iterdir()}
    assert problems(plan(STUDY, store), store, Resources(), sqlite(pam_home)) == []
    assert {path.name for path in pam_home.iterdir()} == before | {"mlflow"}


def test_every_problem_is_named_at_once(joined, store, pam_home):
    huge = [(replace(cell, options={"width": 16384}), split) for cell, split in plan(STUDY, store)]
    with socket.socket() as free:  # a port at which nobody listens
        free.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{free.getsockname()[1]}"
        found = problems(huge, store, Resources(cpus=1000), uri)
    assert len(found) == 3
    assert re.match(r"a cell asks for 1000 CPUs and 0 GPUs, but the nodes have \d+ CPUs", found[0])
    assert re.match(
        rf"MLflow at {uri}: no answer \(.*refused.*\); start the server, or unset MLFLOW_TRACKING_URI", found[1]
    )
    assert re.match(r"/.*: [\d.]+ GiB needed for checkpoints, weights and ledger, [\d.]+ GiB free; free some", found[2])


def test_a_server_that_takes_calls_and_says_nothing_is_named_within_the_half_minute(joined, store):
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        uri, begun = f"http://127.0.0.1:{mute.getsockname()[1]}", time.monotonic()
        (found,) = problems(plan(STUDY, store), store, Resources(), uri)
    assert re.match(rf"MLflow at {uri}: no answer \(.*timed out.*\); start the server", found)
    assert time.monotonic() - begun < 30


def test_data_that_differ_and_a_database_that_cannot_be_kept_are_named(joined, store, tmp_path):
    (tmp_path / "file").touch()
    other = Store(store.path, {**_about(store), "hash": "0" * 16})
    found = problems(plan(STUDY, store), other, Resources(), f"sqlite:///{tmp_path}/file/mlflow.db")
    assert len(found) == 2
    assert re.match(rf"node .*: {store.path} holds other data \(hash {store.hash}\) than here \(0+\)", found[0])
    assert re.match(rf"MLflow's {tmp_path}/file: File exists", found[1])


def _about(store: Store) -> dict:
    import json

    return json.loads((store.path / "store.json").read_text())


def test_a_command_prints_each_problem_on_a_line_and_exits_with_two(capsys):
    def main(argv) -> int:
        raise PamErrors(["one", "two\nand more"])

    assert guarded(main, []) == 2
    assert capsys.readouterr().err == "error: one\nerror: two and more\n"
