"""What is said of disk before cells run is near what they leave there."""

import re

import pytest
import torch

from pam import cells, checkpoints, ledger
from pam.data.prepare import prepare
from pam.data.store import Store
from pam.datasets import DATASETS
from pam.errors import PamError, ResultsError
from pam.study import Study, Variant
from pam.sweep import disk
from pam.sweep.plan import plan

STUDY = Study(
    question="?",
    dataset="phantom",
    reference=Variant("unet", {"width": 8}, label="unet"),
    variants=(Variant("fpa", {"width": 8}, label="fpa"),),
    folds=2,
    seeds=1,
    recipe={"epochs": 2},
)


@pytest.fixture
def store() -> Store:
    return prepare(DATASETS.build("phantom"))


def megabytes(*paths) -> float:
    return sum(path.stat().st_size for path in paths) / 2**20


def test_states_weights_and_entries_of_a_real_cell_are_near_what_was_estimated(store):
    cell, split = plan(STUDY, store)[0]
    expected = disk.needed([(cell, split)], store, at_once=1, keep_weights=True, mirrored=True)
    training = cells.run(
        cell, store, split, device=torch.device("cpu"), provenance={}, record=ledger.add, checkpoint_seconds=0
    )
    next(training), next(training)
    state = megabytes(checkpoints.state_path(cell.id))
    assert expected.checkpoints == pytest.approx(disk.GENERATIONS * state, rel=0.15)
    list(training)
    assert expected.weights == pytest.approx(megabytes(checkpoints.weights_path(cell.id)), rel=0.15)
    entry = megabytes(*ledger.folder(cell.id).iterdir())
    assert 0.3 < entry / expected.ledger < 1.2
    assert expected.mirror == expected.ledger + expected.weights
    assert expected.needed > state + entry


def test_only_the_largest_states_of_cells_at_once_count_and_weights_of_all(store):
    planned = plan(STUDY, store)
    one, two = (disk.needed(planned, store, at_once=n, keep_weights=False, mirrored=False) for n in (1, 2))
    fpa = disk.needed(
        [p for p in planned if p[0].network == "fpa"], store, at_once=1, keep_weights=True, mirrored=False
    )
    assert one.checkpoints == pytest.approx(fpa.checkpoints)
    assert two.checkpoints == pytest.approx(2 * fpa.checkpoints)
    assert (one.weights, one.mirror) == (0.0, 0.0)
    assert fpa.weights == pytest.approx(2 * fpa.checkpoints / disk.STATE / disk.GENERATIONS)


def train(cell, split, store, **options) -> None:
    list(cells.run(cell, store, split, device=torch.device("cpu"), provenance={}, record=ledger.add, **options))


def test_at_the_limit_the_oldest_weights_go_then_the_sweep_stops_and_no_entry_is_lost(store):
    planned = plan(STUDY, store)
    ids = [cell.id for cell, _ in planned]
    for cell, split in planned[:3]:
        train(cell, split, store)
    sizes = [megabytes(checkpoints.weights_path(cell)) for cell in ids[:3]]
    entries = [megabytes(*ledger.folder(cell).iterdir()) for cell in ids[:3]]

    def gigabytes(size_mb: float) -> float:
        return size_mb * 2**20 / 1e9

    def kept() -> list[bool]:
        return [checkpoints.weights_path(cell).exists() for cell in ids]

    everything = sum(sizes) + sum(entries) + 1.0
    disk.Budget(gigabytes(everything + 0.01), ids, running_mb=1.0)
    assert kept() == [True, True, True, False]
    budget = disk.Budget(gigabytes(everything - 0.01), ids, running_mb=1.0)
    assert kept() == [False, True, True, False]
    train(*planned[3], store)
    assert budget.hold(ids[3]) == ""
    assert kept() == [False, False, True, True]
    tight = gigabytes(sum(entries) + 1.0)
    with pytest.raises(PamError, match=r"disk budget of .* GB: finished cells' results take .*; raise"):
        disk.Budget(tight, ids, running_mb=1.0)
    assert kept() == [False] * 4
    assert all(ledger.has(cell) for cell in ids)


def test_a_budget_that_ends_while_cells_run_stops_the_sweep_with_its_reason(store):
    (first, split), *_ = planned = plan(STUDY, store)
    budget = disk.Budget(1.01 * 2**20 / 1e9, [cell.id for cell, _ in planned], running_mb=1.0)
    train(first, split, store)
    assert re.match(
        r"disk budget of [\d.]+ GB: finished cells' results take .*; raise --disk-budget", budget.hold(first.id)
    )
    assert disk.Budget(None, [first.id], running_mb=1e9).hold(first.id) == ""


def test_kept_are_the_weights_as_safetensors_or_nothing_and_older_files_still_read(store):
    (kept, split), (left, other) = plan(STUDY, store)[:2]
    train(kept, split, store)
    path = checkpoints.weights_path(kept.id)
    assert path.suffix == ".safetensors"
    weights = checkpoints.weights(kept.id)
    torch.save(weights, path.with_name(f"{kept.id}.weights.pt"))
    path.unlink()
    older = checkpoints.weights(kept.id)
    assert all(torch.equal(older[name], tensor) for name, tensor in weights.items())
    train(left, other, store, keep_weights=False)
    assert checkpoints.weights(left.id) is None
    assert [path.name for path in path.parent.iterdir()] == [f"{kept.id}.weights.pt"]
    path.with_name(f"{kept.id}.weights.pt").unlink()
    path.write_bytes(b"no weights")
    with pytest.raises(ResultsError, match="damaged"):
        checkpoints.weights(kept.id)
