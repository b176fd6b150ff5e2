import math
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from pam import cells, checkpoints, ledger, networks
from pam.data.batches import choose_slices
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
from pam.study import Recipe, Study, Variant
from pam.sweep.plan import plan
from pam.train import autocast

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


@pytest.fixture
def store() -> Store:
    return prepare(DATASETS.build("phantom"))


def run(cell, split, store, **options):
    return list(
        cells.run(cell, store, split, device=CPU, provenance={"git_commit": "abc"}, record=ledger.add, **options)
    )


def test_a_finished_cell_is_in_the_ledger_with_every_test_slice_scored_once(store):
    cell, split = plan(STUDY, store)[0]
    epochs = run(cell, split, store)
    entry = ledger.read(cell.id)
    test = store.index[store.index.patient.isin(split.test)]
    assert sorted(zip(entry.slices.case, entry.slices.slice, strict=True)) == sorted(
        zip(test.case, test.slice, strict=True)
    )
    assert set(entry.cases.patient) == set(split.test)
    assert not set(entry.slices.patient) & set(split.train)
    assert set(entry.slices.state) <= set(STATES)
    assert list(entry.epochs.loss) == [epoch.loss for epoch in epochs]


def test_the_counts_of_a_cases_slices_add_up_to_the_cases(store):
    cell, split = plan(STUDY, store)[0]
    run(cell, split, store)
    entry = ledger.read(cell.id)
    counts = ["tp", "fp", "fn", "tn"]
    assert entry.slices.groupby("case")[counts].sum().equals(entry.cases.set_index("case")[counts].sort_index())


def test_an_entry_says_where_its_result_comes_from(store):
    cell, split = plan(STUDY, store)[0]
    run(cell, split, store)
    provenance = ledger.read(cell.id).provenance
    assert provenance["git_commit"] == "abc"
    assert provenance["data"]["hash"] == store.hash
    assert provenance["parameters"] > 0
    assert provenance["peak_memory_mb"] > 0


def test_an_interrupted_cell_ends_bit_for_bit_like_an_undisturbed_one(store):
    cell, split = plan(STUDY, store)[0]
    run(cell, split, store)
    undisturbed = ledger.read(cell.id)
    ledger.remove(cell.id)
    interrupted = cells.run(cell, store, split, device=CPU, provenance={}, record=ledger.add, checkpoint_seconds=0)
    assert [next(interrupted).epoch, next(interrupted).epoch] == [1, 2]
    interrupted.close()
    assert not ledger.has(cell.id)
    assert [epoch.epoch for epoch in run(cell, split, store)] == [3]  # the second epoch's state was being yielded
    resumed = ledger.read(cell.id)
    assert resumed.slices.equals(undisturbed.slices)
    assert resumed.cases.equals(undisturbed.cases)
    assert list(resumed.epochs.loss) == list(undisturbed.epochs.loss)


def test_a_finished_cell_leaves_its_weights_and_no_state_to_resume(store):
    cell, split = plan(STUDY, store)[0]
    run(cell, split, store)
    assert checkpoints.load(cell.id) is None
    weights = checkpoints.weights(cell.id)
    network, _ = cells.prepare_training(cell, Recipe(**cell.recipe), store, split, CPU)
    assert weights.keys() == network.state_dict().keys()


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


def test_the_masks_kept_are_those_that_were_scored(store):
    cell, split = plan(STUDY, store)[0]
    run(cell, split, store)
    kept, scored = ledger.evidence(cell.id, "predictions"), ledger.read(cell.id).slices
    assert [*zip(kept.case, kept.slice, strict=True)] == [*zip(scored.case, scored.slice, strict=True)]
    rows = store.index.set_index(["case", "slice"]).assign(row=range(len(store.index))).row
    for mask, scores in zip(kept.itertuples(), scored.itertuples(), strict=True):
        prediction = unpacked(mask.mask, mask.height, mask.width)
        target = store.masks[rows[mask.case, mask.slice]] > 0
        assert ((prediction & target).sum(), (prediction & ~target).sum()) == (scores.tp, scores.fp)
    assert ledger.evidence(cell.id, "attention") is None  # a plain U-net has none


def test_the_attention_kept_is_the_deepest_encoders_at_the_largest_target(store):
    study = replace(STUDY, reference=Variant("fpa", {"width": 2}))
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


VALIDATED = replace(STUDY, recipe={"epochs": 4, "validate_every": 1, "validation": 0.3, "select": "best"})


def within(split):
    return inner(split, VALIDATED.recipe["validation"])


def test_validation_patients_are_scored_after_each_pass_and_never_trained_on(store):
    cell, split = plan(VALIDATED, store)[0]
    _, batches = cells.prepare_training(cell, Recipe(**cell.recipe), store, split, CPU)
    everything = choose_slices(store.columns, within(split).train, "all", torch.Generator())
    assert 0 < batches.slices <= len(everything)
    history = run(cell, split, store)
    network, _ = cells.prepare_training(cell, Recipe(**cell.recipe), store, split, CPU)
    network.load_state_dict(checkpoints.weights(cell.id))
    found = evaluate(network, store, within(split).test, device=CPU, precision="bfloat16", chosen=np.arange(0))
    assert found.slices == []
    oracle = patient(pd.DataFrame(found.cases).assign(cell_id="x")).dice.mean()
    dice = [epoch.validation_dice for epoch in history]
    assert max(dice) == pytest.approx(oracle)  # the weights that were kept are those of the best pass
    entry = ledger.read(cell.id)
    assert list(entry.epochs.validation_dice) == dice
    assert entry.provenance["weights_of_epoch"] == 1 + dice.index(max(dice))
    assert set(entry.cases.patient) == set(split.test)


def test_nothing_of_the_test_patients_reaches_training_or_selection(store, tmp_path):
    cell, split = plan(VALIDATED, store)[0]
    history = run(cell, split, store)
    kept = checkpoints.weights(cell.id)
    copy = tmp_path / "store"
    shutil.copytree(store.path, copy)
    images, masks = (np.load(copy / name, mmap_mode="r+") for name in (IMAGES, MASKS))
    tested = store.index.patient.isin(split.test).to_numpy()
    images[tested] = np.random.default_rng(0).normal(size=images[tested].shape)
    masks[tested] = 1 - masks[tested]
    images.flush(), masks.flush()
    ledger.remove(cell.id)
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
def test_an_interrupted_selection_ends_like_an_undisturbed_one(store, stop):
    cell, split = plan(VALIDATED, store)[0]
    run(cell, split, store)
    undisturbed = ledger.read(cell.id)
    ledger.remove(cell.id)
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
