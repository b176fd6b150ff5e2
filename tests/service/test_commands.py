"""What the service says and does before any server starts."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from pam import cli
from pam.service import __main__ as service
from pam.service import processes, record, web
from pam.service.parts import Options, ray_environment
from pam.service.record import Record

RECORD = Record(ray="127.0.0.1:6379", dashboard="http://127.0.0.1:8265", mlflow="http://127.0.0.1:5000")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["up", "--host", "0.0.0.0"], r"error: --host is 0.0.0.0; name the one address that the other machines"),
        (["up", "--host", "192.0.2.9"], r"error: --host 192.0.2.9 lets other machines run code as you: add --token"),
        (["up", "--ray-port", "80"], r"error: --ray-port is 80; expected a number from 1024"),
        (["env"], r"error: no service under .*; start it: python -m pam.service up"),
        ([], r"error: the following arguments are required: up\|status\|down\|env"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(words, message, capsys):
    assert cli.guarded(service.main, words) == cli.BAD_INPUT
    out, err = capsys.readouterr()
    assert out == ""
    assert re.match(message, err), err
    assert err.count("\n") == 1


@pytest.mark.parametrize(("option", "what"), [("--ray-port", "Ray"), ("--mlflow-port", "MLflow")])
def test_a_port_that_is_taken_is_named_with_the_option_that_chooses_another(option, what, capsys, pam_home):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with socket.socket() as other:  # the default's may be taken, too
            other.bind(("127.0.0.1", 0))
            free = other.getsockname()[1]
        words = ["up", "--ray-port", str(free), option, str(port)]
        assert cli.guarded(service.main, words) == cli.BAD_INPUT
    err = capsys.readouterr().err
    assert re.fullmatch(
        rf"error: 127.0.0.1:{port} cannot be had for {what} \(Address already in use\); .*{option}\n", err
    )
    assert not record.path().exists()
    assert processes.marked(record.folder()) == set()


def test_nothing_up_is_status_one_and_down_is_done(capsys):
    assert service.main(["status"]) == 1
    assert service.main(["down"]) == 0
    assert re.fullmatch(r"down: no service .*\ndown already: .*\n", capsys.readouterr().out)


def test_a_record_returns_as_it_was_written_and_lies_under_pam_home(pam_home):
    written = Record(**{**vars(RECORD), "processes": {"ray": (os.getpid(), processes.identity(os.getpid()))}})
    record.write(written)
    assert record.read() == written
    assert record.path().is_relative_to(pam_home)
    assert written.alive("ray")
    assert not written.alive("mlflow")


def test_a_process_that_took_over_a_number_is_not_the_one_that_was_started():
    assert not Record(**{**vars(RECORD), "processes": {"ray": (os.getpid(), "1")}}).alive("ray")


def test_a_service_of_another_machine_is_not_touched(capsys):
    record.write(Record(**{**vars(RECORD), "host": "elsewhere"}))
    for words in (["up"], ["down"]):
        assert cli.guarded(service.main, words) == cli.BAD_INPUT
        assert "runs on elsewhere" in capsys.readouterr().err
    assert record.path().exists()


def test_a_damaged_record_is_one_line_that_names_its_file(capsys):
    record.folder().mkdir(parents=True)
    for text in ("{", "[]", json.dumps({"ray": "x", "processes": {}})):
        record.path().write_text(text)
        assert cli.guarded(service.main, ["env"]) == cli.BAD_INPUT
        assert f"{record.path()}: not a service's record" in capsys.readouterr().err


def test_a_jobs_python_is_the_services_and_its_home_absolute(monkeypatch, pam_home):
    monkeypatch.setenv("RAY_ADDRESS", "elsewhere:1")
    monkeypatch.setenv("PATH", "/nowhere")
    environment = ray_environment(Options())
    assert environment["PATH"].split(os.pathsep) == [os.path.dirname(sys.executable), "/nowhere"]  # noqa: PTH120
    assert environment["PAM_HOME"] == str(pam_home)
    assert environment["RAY_AUTH_MODE"] == "disabled"
    assert "RAY_ADDRESS" not in environment
    assert ray_environment(Options(token=True))["RAY_AUTH_MODE"] == "token"


def test_stop_ends_leaders_kindly_and_kills_what_they_leave(tmp_path):
    # The leader ends on SIGTERM and leaves a child behind that does not.
    child = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(99)"
    leader = (
        "import signal, subprocess, sys, time, pathlib\n"
        f"subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True)\n"
        "def end(*_): pathlib.Path('kindly').touch(); sys.exit()\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('leads', flush=True); time.sleep(99)"
    )
    log = tmp_path / "one.log"
    pid = processes.start([sys.executable, "-c", leader], environment=os.environ, folder=tmp_path, part="one")
    deadline = time.monotonic() + 60
    while log.read_text().count("\n") < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    everything = processes.marked(tmp_path)
    assert pid in everything
    assert len(everything) == 2
    assert processes.marked(tmp_path, "one") == everything
    assert processes.marked(tmp_path, "on") == processes.marked(tmp_path.parent) == set()
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(99)"])
    try:
        processes.stop([pid], tmp_path)
        assert processes.marked(tmp_path) == set()
        assert (tmp_path / "kindly").exists()
        assert other.poll() is None
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()


def test_a_server_that_does_not_answer_is_unreachable():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(web.Unreachable, match=f"127.0.0.1:{port}"):
        web.ask(f"http://127.0.0.1:{port}/health")
