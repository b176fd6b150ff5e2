import math
import shutil
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
import torch

from pam import cells, checkpoints, ledger, networks
from pam.data.batches import choose_slices
from pam.data.folds import Split
from pam.data.prepare import prepare
from pam.data.splits import inner
from pam.data.store import IMAGES, MASKS, Store
from pam.data.store import open as open_store
from pam.data.view import unpacked
from pam.datasets import DATASETS
from pam.errors import DataError
from pam.evaluate import evaluate
from pam.metrics import STATES
from pam.protocols import patient
from pam.study import Cell, Recipe, Study, Variant
from pam.sweep.plan import plan
from pam.train import Epoch, autocast

CPU = torch.device("cpu")
STUDY = Study(
    question="?",
    dataset="phantom",
    reference=Variant("unet", {"width": 2}, label="unet"),
    variants=(),
    folds=2,
    seeds=2,
    recipe={"epochs": 3},
)


VALIDATED = replace(STUDY, recipe={"epochs": 4, "validate_every": 1, "validation": 0.3, "select": "best"})


@pytest.fixture(scope="module")
def store(_shared_home: None) -> Store:
    return prepare(DATASETS.build("phantom"))


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A study's first cell, trained without a break, and what it left."""

    cell: Cell
    split: Split
    history: list[Epoch]
    entry: ledger.Entry
    weights: dict[str, torch.Tensor]
    evidence: dict[str, pd.DataFrame | None]
    state: object


def trained(study: Study, store: Store) -> Trained:
    cell, split = plan(study, store)[0]
    return Trained(
        cell=cell,
        split=split,
        history=run(cell, split, store),
        entry=ledger.read(cell.id),
        weights=checkpoints.weights(cell.id),
        evidence={table: ledger.evidence(cell.id, table) for table in ledger.EVIDENCE},
        state=checkpoints.load(cell.id),
    )


@pytest.fixture(scope="module")
def finished(store: Store) -> Trained:
    return trained(STUDY, store)


@pytest.fixture(scope="module")
def selected(store: Store) -> Trained:
    """By its validation patients, after each pass."""
    return trained(VALIDATED, store)


def run(cell, split, store, **options):
    return list(
        cells.run(cell, store, split, device=CPU, provenance={"git_commit": "abc"}, record=ledger.add, **options)
    )


def test_a_finished_cell_is_in_the_ledger_with_every_test_slice_scored_once(store, finished):
    entry, split = finished.entry, finished.split
    test = store.index[store.index.patient.isin(split.test)]
    assert sorted(zip(entry.slices.case, entry.slices.slice, strict=True)) == sorted(
        zip(test.case, test.slice, strict=True)
    )
    assert set(entry.cases.patient) == set(split.test)
    assert not set(entry.slices.patient) & set(split.train)
    assert set(entry.slices.state) <= set(STATES)
    assert list(entry.epochs.loss) == [epoch.loss for epoch in finished.history]


def test_the_counts_of_a_cases_slices_add_up_to_the_cases(finished):
    entry = finished.entry
    counts = ["tp", "fp", "fn", "tn"]
    assert entry.slices.groupby("case")[counts].sum().equals(entry.cases.set_index("case")[counts].sort_index())


def test_an_entry_says_where_its_result_comes_from(store, finished):
    provenance = finished.entry.provenance
    assert provenance["git_commit"] == "abc"
    assert provenance["data"]["hash"] == store.hash
    assert provenance["parameters"] > 0
    assert provenance["peak_memory_mb"] > 0


def test_an_interrupted_cell_ends_bit_for_bit_like_an_undisturbed_one(store, finished):
    cell, split, undisturbed = finished.cell, finished.split, finished.entry
    interrupted = cells.run(cell, store, split, device=CPU, provenance={}, record=ledger.add, checkpoint_seconds=0)
    assert [next(interrupted).epoch, next(interrupted).epoch] == [1, 2]
    interrupted.close()
    assert not ledger.has(cell.id)
    assert [epoch.epoch for epoch in run(cell, split, store)] == [3]  # the second epoch's state was being yielded
    resumed = ledger.read(cell.id)
    assert resumed.slices.equals(undisturbed.slices)
    assert resumed.cases.equals(undisturbed.cases)
    assert list(resumed.epochs.loss) == list(undisturbed.epochs.loss)


def test_a_finished_cell_leaves_its_weights_and_no_state_to_resume(store, finished):
    cell, split = finished.cell, finished.split
    assert finished.state is None
    network, _ = cells.prepare_training(cell, Recipe(**cell.recipe), store, split, CPU)
    assert finished.weights.keys() == network.state_dict().keys()


def test_two_variants_of_one_fold_and_seed_see_the_same_batches_and_other_seeds_others(store):
    wide = replace(STUDY, variants=(Variant("unet", {"width": 3}, label="wide"),))
    planned = {(cell.label, cell.fold, cell.seed): (cell, split) for cell, split in plan(wide, store)}

    def first_batch(*key):
        cell, split = planned[key]
        _, batches = cells.prepare_training(cell, Recipe(**cell.recipe), store, split, CPU)
        return next(iter(batches))[0]

    assert torch.equal(first_batch("unet", 0, 0), first_batch("wide", 0, 0))
    assert not torch.equal(first_batch("unet", 0, 0), first_batch("unet", 0, 1))


def test_a_cell_planned_for_other_data_is_refused(store):
    cell, split = plan(STUDY, store)[0]
    with pytest.raises(DataError, match="was planned for other data"):
        run(replace(cell, data_hash="0" * 64), split, store)
    assert not ledger.has(replace(cell, data_hash="0" * 64).id)


def test_the_masks_kept_are_those_that_were_scored(store, finished):
    kept, scored = finished.evidence["predictions"], finished.entry.slices
    assert [*zip(kept.case, kept.slice, strict=True)] == [*zip(scored.case, scored.slice, strict=True)]
    rows = store.index.set_index(["case", "slice"]).assign(row=range(len(store.index))).row
    for mask, scores in zip(kept.itertuples(), scored.itertuples(), strict=True):
        prediction = unpacked(mask.mask, mask.height, mask.width)
        target = store.masks[rows[mask.case, mask.slice]] > 0
        assert ((prediction & target).sum(), (prediction & ~target).sum()) == (scores.tp, scores.fp)
    assert finished.evidence["attention"] is None  # a plain U-net has none


def test_the_attention_kept_is_the_deepest_encoders_at_the_largest_target(store):
    study = replace(STUDY, reference=Variant("fpa", {"width": 2}), recipe={"epochs": 1})
    cell, split = plan(study, store)[0]
    run(cell, split, store)
    kept = ledger.evidence(cell.id, "attention")
    assert sorted(kept.patient) == sorted(split.test)
    assert set(kept.module) == {"bridge.attention"}
    network = networks.build("fpa", len(store.modalities), width=2).eval()
    network.load_state_dict(checkpoints.weights(cell.id))
    first = kept.iloc[0]
    rows = store.index[store.index.case == first.case]
    assert first.slice == rows.slice[rows.target_pixels.idxmax()]
    image = torch.from_numpy(store.images[rows.target_pixels.idxmax()][None]).float()
    with torch.no_grad(), autocast(CPU, Recipe().precision):
        expected = networks.attention_maps(network, image)["bridge.attention"][0].float().mean(0)
    values = np.frombuffer(first["values"], np.float16).reshape(first.height, first.width)
    assert np.allclose(values, expected, atol=2e-3)


def within(split):
    return inner(split, VALIDATED.recipe["validation"])


def test_validation_patients_are_scored_after_each_pass_and_never_trained_on(store, selected):
    cell, split, history, entry = selected.cell, selected.split, selected.history, selected.entry
    _, batches = cells.prepare_training(cell, Recipe(**cell.recipe), store, split, CPU)
    everything = choose_slices(store.columns, within(split).train, "all", torch.Generator())
    assert 0 < batches.slices <= len(everything)
    network, _ = cells.prepare_training(cell, Recipe(**cell.recipe), store, split, CPU)
    network.load_state_dict(selected.weights)
    found = evaluate(network, store, within(split).test, device=CPU, precision="bfloat16", chosen=np.arange(0))
    assert found.slices == []
    oracle = patient(pd.DataFrame(found.cases).assign(cell_id="x")).dice.mean()
    dice = [epoch.validation_dice for epoch in history]
    assert max(dice) == pytest.approx(oracle)  # the weights that were kept are those of the best pass
    assert list(entry.epochs.validation_dice) == dice
    assert entry.provenance["weights_of_epoch"] == 1 + dice.index(max(dice))
    assert set(entry.cases.patient) == set(split.test)


def test_nothing_of_the_test_patients_reaches_training_or_selection(store, selected, tmp_path):
    cell, split, history, kept = selected.cell, selected.split, selected.history, selected.weights
    copy = tmp_path / "store"
    shutil.copytree(store.path, copy)
    images, masks = (np.load(copy / name, mmap_mode="r+") for name in (IMAGES, MASKS))
    tested = store.index.patient.isin(split.test).to_numpy()
    images[tested] = np.random.default_rng(0).normal(size=images[tested].shape)
    masks[tested] = 1 - masks[tested]
    images.flush(), masks.flush()
    again = run(cell, split, open_store(copy))
    assert [(e.loss, e.validation_dice) for e in again] == [(e.loss, e.validation_dice) for e in history]
    weights = checkpoints.weights(cell.id)
    assert all(torch.equal(weights[name], kept[name]) for name in kept)


def test_looking_at_validation_patients_changes_no_weight(store):
    losses = []
    for every in (1, 2):
        recipe = {"epochs": 3, "validate_every": every, "validation": 0.3}
        cell, split = plan(replace(STUDY, recipe=recipe), store)[0]
        history = run(cell, split, store)
        losses.append([epoch.loss for epoch in history])
        assert [math.isnan(epoch.validation_dice) for epoch in history] == [every == 2, False, False]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("stop", [1, 3])
def test_an_interrupted_selection_ends_like_an_undisturbed_one(store, selected, stop):
    cell, split, undisturbed = selected.cell, selected.split, selected.entry
    interrupted = cells.run(cell, store, split, device=CPU, provenance={}, record=ledger.add, checkpoint_seconds=0)
    for _ in range(stop):
        next(interrupted)
    interrupted.close()
    run(cell, split, store)
    resumed = ledger.read(cell.id)
    assert resumed.slices.equals(undisturbed.slices)
    assert resumed.epochs.validation_dice.equals(undisturbed.epochs.validation_dice)
    assert resumed.provenance["weights_of_epoch"] == undisturbed.provenance["weights_of_epoch"]


def test_a_split_that_names_its_validation_patients_keeps_to_them():
    store = prepare(DATASETS.build("phantom_cityscapes"))
    cell, split = plan(replace(VALIDATED, recipe={"epochs": 1, "validate_every": 1}), store)[0]
    (epoch,) = run(cell, split, store)
    assert len(split.validation) == 1
    assert 0 <= epoch.validation_dice <= 1


def test_the_papers_choice_of_test_slices_keeps_their_scores_alone_and_cases_whole(store):
    recipe = {"epochs": 1}
    planned = [plan(replace(STUDY, recipe={**recipe, **more}), store) for more in ({}, {"test_slices": "paper"})]
    entries = []
    for (cell, split), *_ in planned:
        run(cell, split, store)
        entries.append(ledger.read(cell.id))
    every, papers = entries
    assert papers.cell["id"] != every.cell["id"]
    assert papers.cases.equals(every.cases)
    both = every.slices.merge(papers.slices[["case", "slice"]], on=["case", "slice"])
    assert len(both) == len(papers.slices) < len(every.slices)
    target = every.slices.tp + every.slices.fn > 1
    assert len(papers.slices[papers.slices.tp + papers.slices.fn > 1]) == target.sum()
    chosen = {tuple(row) for row in papers.slices[["case", "slice"]].to_numpy()}
    other = next(cell for cell, _ in planned[1] if cell.seed == 1 and cell.fold == 0)
    again = choose_slices(store.columns, planned[1][0][1].test, "paper", cells.generator_of(other, "test slices"))
    assert {tuple(row) for row in store.index.loc[again, ["case", "slice"]].to_numpy()} == chosen  # of every seed
