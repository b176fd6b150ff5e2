"""A trial that dies, however it dies, goes on elsewhere and changes nothing."""

import subprocess
import sys

import pytest

from pam import failures, ledger, manifest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def test_trials_that_raise_exit_crash_or_run_out_of_memory_go_on_from_their_checkpoints(disturbed, same):
    disturbed.plan("raise", "exit", "segfault", "memory", step=3)
    code, output = disturbed.sweep("--max-failures", "0")
    assert code == 0, output
    assert output.count("goes on from its checkpoint") == 4
    assert "RuntimeError: struck" in output
    assert "allocate" in output
    same(intervals=4)


def test_a_cell_that_fails_for_good_is_on_record_with_its_traceback_and_trains_again_when_asked(disturbed, same):
    disturbed.plan("raise", step=1, again=True)
    code, output = disturbed.sweep()
    assert code == 1, output
    assert "3 cells trained" in output
    assert "1 cell failed; to train again: add --rerun failed" in output
    ids = [cell["id"] for cell in manifest.read("study")["cells"]]
    (failed,) = [cell for cell in ids if not ledger.has(cell)]
    record = failures.read(failed)
    assert record is not None
    assert record.kind == failures.FAILED
    assert record.message == "RuntimeError: struck"
    assert 'raise RuntimeError("struck")' in record.traceback
    (disturbed.folder / "plan.json").unlink()
    code, output = disturbed.sweep()
    assert (code, "0 cells trained" in output) == (1, True)
    code, output = disturbed.sweep("--rerun", "failed")
    assert code == 0, output
    same(intervals=3)


def test_a_cell_that_diverges_trains_again_from_the_start_when_asked(disturbed, same):
    disturbed.plan("diverge", step=5)
    code, output = disturbed.sweep()
    assert code == 1, output
    assert "1 cell diverged; to train again: add --rerun diverged" in output
    code, output = disturbed.sweep("--rerun", "diverged")
    assert code == 0, output
    same(intervals=2)


def test_a_process_that_trained_other_cells_before_gives_what_a_new_one_gives(undisturbed, disturbed, same):
    lines = [line.split() for line in (undisturbed.folder / "steps").read_text().splitlines()]
    trained = {(key, pid) for key, what, pid in lines if what == "train"}
    assert len(trained) > len({pid for _, pid in trained})  # some process trained two cells
    train = [sys.executable, "-m", "pam.train", "study.py"]
    places = {"cwd": disturbed.folder, "env": disturbed.environment()}
    listed = subprocess.run([*train, "--list"], **places, capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        subprocess.run([*train, "--cells", line.split()[0]], **places, check=True)
    code, output = disturbed.sweep()
    assert "all 4 cells were done already" in output
    assert code == 0
    same()
