"""A full disk or one that turned read-only stops the sweep with its reason; once mended, the same command goes on."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

EPOCHS = 3
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system takes root"),
]


@contextmanager
def mounted(folder: Path, *words: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    made = subprocess.run(["mount", *words, str(folder)], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"mount: {made.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # also where a process still has a file open


def test_a_full_disk_stops_the_sweep_at_once_and_nothing_that_was_stored_is_trained_again(
    undisturbed, disturbed, same, head
):
    folders = [disturbed.home / "checkpoints", disturbed.home / "ledger"]
    small = ("-t", "tmpfs", "-o", "size=16k", "tmpfs")
    with mounted(folders[0], *small), mounted(folders[1], *small):
        trained = []  # each cell's steps when a disk was found full
        for folder in folders:
            code, output = disturbed.sweep_here(*disturbed.part, "--address", head)
            assert code == 1, output
            assert "No space left on device" in output
            assert "2 cells to go; the same command goes on with them" in output
            assert list((disturbed.home / "failures").iterdir()) == []
            assert not [path for path in folder.rglob("*") if path.is_file()]  # nothing half-written stays behind
            trained.append(disturbed.steps("train"))
            subprocess.run(["mount", "-o", "remount,size=200m", str(folder)], check=True)
        code, output = disturbed.sweep_here(*disturbed.part, "--address", head)
        assert code == 0, output
        same(intervals=3, scored_once=False)  # a cell at a time; the one that the ledger lacked was scored again
    for cell in disturbed.steps("train"):
        whole = undisturbed.steps("train")[cell]
        interval = whole // EPOCHS
        vain = trained[0][cell]  # no checkpoint could be stored
        assert vain <= 2 * interval
        assert disturbed.steps("train")[cell] - vain <= whole + interval  # what could be stored was not trained again


def test_a_ledger_that_turns_read_only_stops_the_sweep_and_costs_no_epoch_that_was_stored(disturbed, same, head):
    folder = disturbed.home / "ledger"
    folder.mkdir()
    with mounted(folder, "--bind", str(folder)):
        disturbed.plan("pause", step=15)
        process = disturbed.start(*disturbed.part, "--address", head)
        disturbed.until(disturbed.paused)
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        disturbed.let_go()
        assert disturbed.ended(process) == 1
        assert "storage failed" in disturbed.output() and "Read-only file system" in disturbed.output()
        assert "to go; the same command goes on with them" in disturbed.output()
        assert list((disturbed.home / "failures").iterdir()) == []
        subprocess.run(["mount", "-o", "remount,rw,bind", str(folder)], check=True)
        code, output = disturbed.sweep_here(*disturbed.part, "--address", head)
        assert code == 0, output
        same(intervals=1, scored_once=False)  # the one that the ledger could not take was scored again


def test_a_read_only_ledger_is_found_before_anything_is_trained_or_recorded(disturbed):
    folder = disturbed.home / "ledger"
    folder.mkdir()
    with mounted(folder, "--bind", str(folder)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
        before = sorted(disturbed.home.rglob("*"))
        code, output = disturbed.sweep()
        assert code == 2
        assert output.startswith(f"error: {folder}: cannot be written (Read-only file system)"), output
        assert len(output.splitlines()) == 1
        assert sorted(disturbed.home.rglob("*")) == before
