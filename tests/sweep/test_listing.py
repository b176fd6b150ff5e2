"""A study's line in the list: operations counted as defined, hours only where they were measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pam import ledger, networks
from pam.data.prepare import prepare
from pam.datasets import DATASETS
from pam.networks.cost import flop
from pam.study import Study, Variant, load
from pam.sweep.listing import describe
from pam.sweep.plan import plan
from pam.sweep.request import Request
from pam.train.__main__ import main as train

STUDY = """
from pam.study import Study, Variant

STUDY = Study(
    question="Which?",
    dataset="phantom",
    reference=Variant("unet", {"width": 2}),
    variants=(Variant("fpa", {"width": 2}),),
    folds=2,
    seeds=1,
    recipe={"epochs": 1, "slices": "all"},
)
"""


def cost(study: Study) -> str:
    return describe(Request(study=study)).splitlines()[-1]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.py"
    path.write_text(STUDY)
    return path


def gflop(network: str) -> float:
    return flop(networks.sketch(network, 4, width=2), (4, 48, 48)) / 1e9


def test_without_prepared_data_the_cost_is_per_slice(small: Path) -> None:
    expected = 2 * 1 * 1 * 3 * (gflop("unet") + gflop("fpa"))  # folds, seeds, epochs, passes
    told = f"4 cells, 4 epochs, {expected:.3g} GFLOP per training slice of 4×48×48"
    assert cost(load(str(small))) == f"  cost: {told}; slices are counted once phantom is prepared"


def test_with_prepared_data_the_cost_is_cells_epochs_slices_and_operations(small: Path) -> None:
    store = prepare(DATASETS.build("phantom"))
    trained_on = sum(12 * len(split.train) for split in store.folds(2))  # a phantom patient has 12 slices
    expected = trained_on * 3 * (gflop("unet") + gflop("fpa"))
    told = f"4 cells, {expected:.3g} GFLOP to train"
    assert cost(load(str(small))) == f"  cost: {told}; none trained yet: --dry-run measures its time"


def test_time_is_told_of_rows_that_were_trained_and_of_no_others(small: Path) -> None:
    assert train([str(small), "--folds", "0", "--only", "unet"]) == 0
    [(cell, _)] = plan(load(str(small)), prepare(DATASETS.build("phantom")), folds=[0], only=["unet"])
    seconds = ledger.read(cell.id).epochs.seconds.sum()
    told = cost(load(str(small)))
    assert "; 1 trained in 0:00:0" in told
    assert re.search(r"; 1 more of the same rows take 0:00:0\d at that pace, one at a time;", told)
    assert seconds < 10
    assert told.endswith("; 2 of rows never trained: --dry-run measures their time")


def test_a_data_set_of_unknown_size_tells_epochs_alone() -> None:
    study = Study(question="?", dataset="lgg", reference=Variant("unet"), variants=(), folds=5, seeds=2, name="sizes")
    assert cost(study) == "  cost: 10 cells, 400 epochs; slices are counted once lgg is prepared"
