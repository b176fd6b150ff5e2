"""A sweep without --address: a Ray of its own, that only this machine can reach."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pam.errors import PamError
from pam.sweep import schedule

SCRIPT = """
import os, psutil, ray
from pam.sweep import schedule

with schedule.cluster(None):
    ours = [psutil.Process(), *psutil.Process().children(recursive=True)]
    sockets = [socket for process in ours for socket in process.net_connections("inet")]
    listening = {s.laddr.ip for s in sockets if s.status == "LISTEN"}
    print(listening, ray.get_runtime_context().gcs_address, os.environ.get("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"))
"""


def test_it_listens_on_loopback_alone_and_takes_no_notice_of_a_head_that_is_up():
    folder = tempfile.mkdtemp(prefix="r", dir="/tmp")  # short: Ray puts sockets there, whose paths have 107 letters
    head = Path(folder) / "ray" / "ray_current_cluster"
    head.parent.mkdir()
    head.write_text("127.0.0.1:9")  # where `ray start --head` leaves its address
    environment = {**os.environ, "RAY_TMPDIR": folder}
    del environment["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"]
    try:
        words = [sys.executable, "-c", SCRIPT]
        run = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=False)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert run.returncode == 0, run.stderr
    addresses, gcs, setting = run.stdout.rsplit(" ", 2)
    assert addresses
    assert set(addresses.strip("{}").replace("'", "").split(", ")) <= {"127.0.0.1", "::ffff:127.0.0.1"}
    assert gcs.startswith("127.0.0.1:")
    assert gcs != "127.0.0.1:9"
    assert setting.strip() == "None"


def test_an_address_where_nothing_listens_is_told_at_once():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(PamError, match=f"no Ray cluster at {address}: .*refused"), schedule.cluster(address):
        pass


STARTS = """
from pam import cli
from pam.sweep import schedule

def main(argv):
    with schedule.cluster(None):
        return 0

cli.run(main)
"""


def test_a_ray_that_does_not_start_is_one_line_and_exit_code_two(tmp_path):
    folder = tmp_path / ("x" * 100)  # too long for the sockets that Ray puts there
    folder.mkdir()
    words = [sys.executable, "-c", STARTS]
    environment = {**os.environ, "RAY_TMPDIR": str(folder)}
    run = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 2
    assert re.fullmatch("error: Ray does not start here: .*AF_UNIX path length.*\n", run.stderr), run.stderr
