"""What is said of disk before cells run is near what they leave there."""

import pytest
import torch

from pam import cells, checkpoints, disk, ledger
from pam.data.prepare import prepare
from pam.data.store import Store
from pam.datasets import DATASETS
from pam.plan import plan
from pam.study import Study, Variant

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
    assert expected.mirror == expected.ledger
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
