"""A trial that dies, however it dies, goes on elsewhere and changes nothing."""

import pytest

from pam import cell_log, failures, ledger, manifest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def test_trials_that_raise_exit_crash_or_run_out_of_memory_go_on_from_their_checkpoints(disturbed, same, head):
    disturbed.plan("raise", "exit", "segfault", "memory", step=3)
    code, output = disturbed.sweep_here("--address", head, "--max-failures", "0")
    assert code == 0, output
    assert output.count("goes on from its checkpoint") == 4
    assert "RuntimeError: struck" in output
    assert "allocate" in output
    same(cells=4, intervals=4)


def test_cells_that_fail_for_good_or_diverge_are_on_record_and_train_again_when_asked(disturbed, same, head):
    disturbed.plan("raise", "diverge", step=5, again=True)
    code, output = disturbed.sweep_here("--address", head, "--max-failures", "2")
    assert code == 1, output
    assert "2 cells trained" in output
    assert "1 cell failed; to train again: add --rerun failed" in output
    assert "1 cell diverged; to train again: add --rerun diverged" in output
    ids = [cell["id"] for cell in manifest.read("study")["cells"]]
    records = [failures.read(cell) for cell in ids if not ledger.has(cell)]
    failed, diverged = sorted(records, key=lambda record: record.kind, reverse=True)
    assert (failed.kind, failed.message, failed.epoch) == (failures.FAILED, "RuntimeError: struck", 1)
    assert 'raise RuntimeError("struck")' in failed.traceback
    assert (diverged.kind, diverged.epoch) == (failures.DIVERGED, 1)
    (disturbed.folder / "plan.json").unlink()
    code, output = disturbed.sweep_here()
    assert (code, "0 cells trained" in output) == (1, True)
    code, output = disturbed.sweep_here("--address", head, "--rerun", "failed", "diverged")
    assert code == 0, output
    assert "2 cells trained, 2 done already, of 4" in output
    same(cells=4, intervals=3 + 1)  # three tries of the one, one of the other


def test_a_process_that_trained_other_cells_before_gives_what_a_new_one_gives(undisturbed, disturbed, monkeypatch):
    monkeypatch.setenv("PAM_HOME", str(undisturbed.home))
    ids = [cell["id"] for cell in manifest.read("study")["cells"]]
    began = sorted((line["time"], line["process"], cell) for cell in ids for line in cell_log.read(cell)[:1])
    assert len({process for _, process, _ in began}) == 1
    last = began[-1][-1]
    entry = ledger.read(last)
    monkeypatch.setenv("PAM_HOME", str(disturbed.home))
    code, output = disturbed.run("pam.train", "study.py", "--cells", last)
    assert code == 0, output
    alone = ledger.read(last)
    assert alone.slices.equals(entry.slices)
    assert alone.cases.equals(entry.cases)
    assert list(alone.epochs.loss) == list(entry.epochs.loss)
