import logging
import os

import pytest
import torch

from pam import checkpoints


def test_what_was_saved_is_loaded():
    checkpoints.save("cell", {"network": {"w": torch.arange(3)}, "epoch": 2})
    state = checkpoints.load("cell")
    assert state is not None
    assert torch.equal(state["network"]["w"], torch.arange(3))
    assert state["epoch"] == 2


def test_a_cell_without_a_checkpoint_has_none():
    assert checkpoints.load("cell") is None


def test_a_truncated_checkpoint_is_reported_and_counts_as_none(caplog):
    checkpoints.save("cell", {"network": {"w": torch.arange(1000)}})
    path = checkpoints.state_path("cell")
    path.write_bytes(path.read_bytes()[:300])
    with caplog.at_level(logging.WARNING):
        assert checkpoints.load("cell") is None
    assert "is damaged" in caplog.text


def test_a_failed_save_leaves_the_earlier_state_and_no_parts():
    checkpoints.save("cell", {"epoch": 1})

    class Unsavable:
        def __reduce__(self):
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        checkpoints.save("cell", {"epoch": Unsavable()})
    assert checkpoints.load("cell") == {"epoch": 1}
    assert [path.name for path in checkpoints.state_path("cell").parent.iterdir()] == ["cell.pt"]


def test_a_finished_cell_keeps_its_weights_alone():
    checkpoints.save("cell", {"network": {"w": torch.ones(2)}, "optimizer": {}})
    checkpoints.finish("cell", {"w": torch.ones(2)})
    assert checkpoints.load("cell") is None
    assert torch.equal(checkpoints.weights("cell")["w"], torch.ones(2))


def test_a_damaged_newest_state_costs_one_generation(caplog):
    for epoch in (1, 2, 3):
        checkpoints.save("cell", {"epoch": epoch})
    path = checkpoints.state_path("cell")
    path.write_bytes(path.read_bytes()[:100])
    with caplog.at_level(logging.WARNING):
        assert checkpoints.load("cell") == {"epoch": 2}
    assert "cell.pt is damaged" in caplog.text


def test_a_writer_killed_between_the_two_renames_leaves_the_earlier_state():
    for epoch in (1, 2):
        checkpoints.save("cell", {"epoch": epoch})
    checkpoints.state_path("cell").replace(checkpoints.previous_path("cell"))
    assert checkpoints.load("cell") == {"epoch": 2}


def test_a_forgotten_cell_has_no_state_left():
    for epoch in (1, 2):
        checkpoints.save("cell", {"epoch": epoch})
    checkpoints.forget("cell")
    assert checkpoints.load("cell") is None
    assert list(checkpoints.state_path("cell").parent.iterdir()) == []


def test_a_full_disk_is_told_as_such(monkeypatch):
    def full(path):
        return os.fdopen(os.open("/dev/full", os.O_WRONLY), "wb", buffering=0)

    monkeypatch.setattr(checkpoints.files, "whole", full)
    with pytest.raises(OSError, match="No space left on device"):
        checkpoints.save("cell", {"network": {"w": torch.zeros(100_000)}})
