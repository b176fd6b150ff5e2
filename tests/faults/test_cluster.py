"""Nodes that die, a head that restarts, a job that is stopped: a cluster's faults change nothing."""

import os
import shlex
import socket
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pam.sweep.schedule import patiently

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture
def cluster(disturbed: Any, start_cluster: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A Ray cluster on this machine's loopback address, whose head runs no cells."""
    for name, value in disturbed.environment().items():  # what nodes start with, their workers have
        monkeypatch.setenv(name, value)
    made = start_cluster(num_cpus=0)
    yield made
    made.shutdown()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_cells_of_a_node_that_dies_go_on_on_another(disturbed, same, cluster):
    doomed = patiently(lambda: cluster.add_node(num_cpus=1))
    disturbed.plan("pause", step=15)
    process = disturbed.start(*disturbed.part, "--address", cluster.address)
    disturbed.until(disturbed.paused)
    cluster.remove_node(doomed, allow_graceful=False)
    disturbed.let_go()
    patiently(lambda: cluster.add_node(num_cpus=1))
    assert disturbed.ended(process) == 0, disturbed.output()
    assert "goes on from its checkpoint" in disturbed.output()
    same(intervals=1)


def test_the_same_command_goes_on_after_the_head_was_restarted(disturbed, same, cluster, start_cluster):
    patiently(lambda: cluster.add_node(num_cpus=1))
    disturbed.plan("pause", step=15)
    soon = {"RAY_gcs_rpc_server_reconnect_timeout_s": "5"}  # else 60
    process = disturbed.start(*disturbed.part, "--address", cluster.address, **soon)
    disturbed.until(disturbed.paused)
    cluster.shutdown()
    assert disturbed.ended(process) != 0  # it does not wait for ever for a head that is gone
    disturbed.let_go()
    again = start_cluster(num_cpus=1)
    try:
        code, output = disturbed.sweep_here(*disturbed.part, "--address", again.address)
        assert code == 0, output
        same(intervals=1)
    finally:
        again.shutdown()


def test_a_stopped_job_goes_on_when_it_is_submitted_again(disturbed, same, start_cluster, monkeypatch):
    from ray.job_submission import JobStatus, JobSubmissionClient

    for name, value in disturbed.environment().items():
        monkeypatch.setenv(name, value)
    ports = {"dashboard_port": free_port(), "dashboard_agent_listen_port": free_port()}  # other clusters run, too
    cluster = start_cluster(num_cpus=1, include_dashboard=True, **ports)
    try:
        jobs = JobSubmissionClient(f"http://{cluster.head_node.address_info['webui_url']}")
        words = [sys.executable, "-m", "pam.sweep", str(disturbed.folder / "study.py"), *disturbed.part]
        words += ["--checkpoint-seconds", "0"]
        variables = {name: os.environ[name] for name in ("PAM_HOME", "PYTHONPATH")}

        def submit() -> str:
            begun = time.monotonic()
            while True:
                try:
                    return jobs.submit_job(entrypoint=shlex.join(words), runtime_env={"env_vars": variables})
                except RuntimeError as error:
                    if "No available agent" not in str(error) or time.monotonic() - begun > 120:
                        raise
                time.sleep(1.0)  # right after a head's start it has no agent yet

        disturbed.plan("pause", step=15)
        first = submit()
        disturbed.until(disturbed.paused)
        jobs.stop_job(first)
        disturbed.until(lambda: jobs.get_job_status(first).is_terminal(), every=1.0)
        assert jobs.get_job_status(first) == JobStatus.STOPPED
        disturbed.let_go()
        second = submit()
        disturbed.until(lambda: jobs.get_job_status(second).is_terminal(), every=1.0)
        assert jobs.get_job_status(second) == JobStatus.SUCCEEDED, jobs.get_job_logs(second)
        same(intervals=1)
    finally:
        cluster.shutdown()
