"""`pam.status`: states from what lies under PAM_HOME, in text and JSON."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from pam import cell_log, cli, entries, failures, home, leases, overview, status
from pam.failures import Failure

IDS = {state: f"{number}{'abcdef' * 3}" for number, state in enumerate(overview.STATES)}


def cell(state: str) -> dict:
    where = {"label": "unet", "network": "unet", "fold": list(IDS).index(state), "seed": 0}
    return {"id": IDS[state], **where, "options": {"width": 4}, "recipe": {"epochs": 10}}


def epoch(number: int, seconds: float = 2.0) -> dict:
    return {"epoch": number, "of": 10, "loss": 1 / number, "learning_rate": 0.001, "seconds": seconds}


@pytest.fixture
def study(pam_home):
    """A study with one cell in each state; the running one is this process's, at epoch 5 of 10."""
    manifest = {
        "study": "small",
        "written": "2026-11-25T00:00:00+00:00",
        "question": "?",
        "dataset": "phantom",
        "title": "a phantom",
        "phantom": True,
        "cells": [cell(state) for state in IDS],
    }
    path = home.studies() / "small" / "phantom.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(manifest))
    done = entries.folder(IDS["done"])
    done.mkdir(parents=True)
    (done / entries.CELL).write_text(json.dumps({"provenance": {"device": "cpu × 1", "git_commit": "abc"}}))
    told = {"epoch": 3, "message": "it broke", "metrics": {"epoch": 2, "loss": 0.5}}
    failures.write(Failure(cell=cell("failed"), kind="failed", traceback="Traceback:\n  boom", **told))
    failures.write(Failure(cell=cell("diverged"), kind="diverged", **told))
    cell_log.write(IDS["running"], cell_log.STARTED, host="here")
    for number in range(1, 6):
        cell_log.write(IDS["running"], cell_log.EPOCH, **epoch(number))
    with leases.Watch("another").take(IDS["running"]):
        yield


def told(capsys, *words: str) -> dict:
    assert status.main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_each_state_is_counted(study, capsys):
    (found,) = told(capsys)["studies"]
    assert {state: found[state] for state in overview.STATES} == dict.fromkeys(overview.STATES, 1)
    assert found["cells"] == 5
    assert "each" not in found


def test_the_time_left_is_that_of_running_and_missing_cells_over_those_that_run(study, capsys):
    # 2 s an epoch, 10 epochs: half of the running cell and the whole of the missing one, on one slot.
    assert told(capsys)["studies"][0]["seconds_left"] == pytest.approx(10 + 20)


def test_a_finished_cells_own_time_counts_more_than_an_estimate(study, capsys):
    cell_log.path_of(IDS["done"]).write_text(
        '{"time": "2026-01-01T00:00:00+00:00", "event": "started"}\n'
        '{"time": "2026-01-01T00:01:00+00:00", "event": "finished"}\n'
    )
    assert told(capsys)["studies"][0]["seconds_left"] == pytest.approx((60 + 20) / 2 * 1.5)


def test_a_study_shows_a_line_for_each_cell(study, capsys):
    assert status.main(["small"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.match(
        r"small on a phantom: 5 cells: 1 done, 1 running, 1 failed, 1 diverged, 1 missing; ETA 0:00:30", lines[0]
    )
    by_state = {state: line for state in overview.STATES for line in lines[1:6] if f"  {state}" in line}
    assert len(by_state) == 5
    assert "epoch 5/10  loss 0.2000" in by_state["running"]
    assert f"process {os.getpid()}" in by_state["running"]
    assert "failed in epoch 3: it broke" in by_state["failed"]


def test_a_cell_shows_its_traceback_and_last_metrics_in_one_place(study, capsys):
    for words in (IDS["failed"], IDS["failed"][:6]):
        assert status.main([words]) == 0
        out = capsys.readouterr().out
        assert "it broke" in out
        assert "Traceback:\n  boom" in out
        assert "last epoch epoch=2, loss=0.5" in out
        assert IDS["failed"] in out


def test_a_cell_that_has_ended_leads_to_its_mlflow_run(study, capsys, monkeypatch):
    path = home.runs() / "small" / "phantom.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({IDS["failed"]: "r1"}))
    assert told(capsys, IDS["running"])["cell"]["mlflow"] == ""
    assert told(capsys, IDS["failed"])["cell"]["mlflow"] == "run r1"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:s3cret@mlflow.example.org/")
    assert status.main([IDS["failed"]]) == 0
    assert "MLflow     http://me:***@mlflow.example.org/#/runs/r1\n" in capsys.readouterr().out


def test_a_study_without_a_report_here_is_told_how_to_make_one(study, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert status.main([]) == 0
    assert "report     none here of small: python -m pam.report small\n" in capsys.readouterr().out
    report = tmp_path / "reports" / "small" / "phantom" / "README.md"
    report.parent.mkdir(parents=True)
    report.touch()
    assert status.main([]) == 0
    assert f"report     {report.parent}\n" in capsys.readouterr().out


def test_a_cells_json_holds_all_of_its_log(study, capsys):
    found = told(capsys, IDS["running"])["cell"]
    assert [line["event"] for line in found["log"]] == ["started", *["epoch"] * 5]
    assert found["log_file"] == str(cell_log.path_of(IDS["running"]))
    assert found["last"]["loss"] == pytest.approx(0.2)
    assert told(capsys, IDS["done"])["cell"]["provenance"]["device"] == "cpu × 1"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nope"], r"error: 'nope' is no study that was swept and no cell's id under .*; swept: small\n"),
        (["--every", "0"], r"error: --every is 0; expected seconds above 0\n"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(study, words, message, capsys):
    assert cli.guarded(status.main, words) == cli.BAD_INPUT
    assert re.fullmatch(message, capsys.readouterr().err)


def test_the_beginning_of_several_ids_is_an_error(study, capsys):
    path = home.studies() / "small" / "phantom.json"
    manifest = json.loads(path.read_text())
    manifest["cells"] += [{**cell("done"), "id": IDS["done"][:-1] + "x"}]
    path.write_text(json.dumps(manifest))
    assert cli.guarded(status.main, [IDS["done"][:8]]) == cli.BAD_INPUT
    assert "begins the ids of 2 cells" in capsys.readouterr().err
    assert told(capsys, IDS["done"])["cell"]["id"] == IDS["done"]


def test_nothing_swept_is_said(pam_home, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # reports are looked for in the working directory
    assert status.main([]) == 0
    assert capsys.readouterr().out == "no study was swept yet\n"


def test_a_service_that_is_gone_is_told_with_its_addresses(study, capsys, monkeypatch):
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:s3cret@127.0.0.1:9")
    assert status.main([]) == 0
    out = capsys.readouterr().out
    assert "Ray does not answer: http://127.0.0.1:9" in out
    assert "http://me:***@127.0.0.1:9" in out


def test_watch_goes_on_until_it_is_interrupted(study):
    words = [sys.executable, "-m", "pam.status", "--watch", "--every", "0.1", "--json"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    seen = 0
    while seen < 2:
        seen += "studies" in json.loads(process.stdout.readline())  # a document a line
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == cli.INTERRUPTED


def test_a_log_follows_a_training_from_start_to_end_and_keeps_its_error(pam_home):
    class Epoch:
        epoch, of, loss, learning_rate, seconds = 1, 2, 0.5, 0.1, 1.0

    def fails():
        yield Epoch()
        raise ValueError("postgresql://me:s3cret@db is away")

    assert list(cell_log.follow("good1", iter([Epoch(), Epoch()]), device="cpu"))
    assert [line["event"] for line in cell_log.read("good1")] == ["started", "epoch", "epoch", "finished"]
    with pytest.raises(ValueError, match="away"):
        list(cell_log.follow("bad1", fails()))
    *_, last = cell_log.read("bad1")
    assert last["event"] == "raised"
    assert "in fails" in last["traceback"]
    assert "s3cret" not in cell_log.path_of("bad1").read_text()
    stopped = cell_log.follow("stopped1", iter([Epoch(), Epoch()]))
    next(stopped)
    stopped.close()
    assert cell_log.read("stopped1")[-1]["event"] == "stopped"


def test_a_log_that_cannot_be_written_costs_no_epoch(pam_home, caplog):
    home.logs().parent.mkdir(parents=True, exist_ok=True)
    home.logs().write_text("a file where the folder would be")
    cell_log.write("any", cell_log.STARTED)
    assert "cannot be written" in caplog.text


def test_a_line_that_was_cut_short_is_left_out(pam_home):
    cell_log.write("cut1", cell_log.STARTED)
    with cell_log.path_of("cut1").open("a") as file:
        file.write('{"time": "2026')
    assert [line["event"] for line in cell_log.read("cut1")] == ["started"]
