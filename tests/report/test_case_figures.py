"""Figures of single cases: which cases and rows they show, and that their colours say what is true."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pam import ledger, views
from pam.data.view import unpacked
from pam.report import evidence, results
from pam.report.figures import attention, curves, mistakes, overlays, ranks, tiles
from pam.statements import Claim
from pam.study import Study, Variant

STUDY = Study(
    name="three",
    question="Which is best?",
    dataset="brats2018",
    reference=Variant("unet"),
    variants=(Variant("fpa"), Variant("aunet"), Variant("rfna")),
    folds=2,
    seeds=2,
)
FORMATS = {"png", "svg", "pdf"}


@pytest.fixture
def found(swept) -> results.Results:
    return results.collect(swept(STUDY), STUDY)


@pytest.fixture
def shown(found) -> evidence.Evidence:
    return evidence.gather(found.cells, found.table.data_hash)


def said(svg: bytes) -> str:
    return " ".join(re.findall(r"<!-- (.*?) -->", svg.decode()))


def test_each_case_is_shown_by_the_lowest_seed_of_its_test_fold(shown) -> None:
    assert set(shown.cells.seed) == {0}
    assert len(shown.masks) == len(STUDY.rows) * len(shown.views) == 4 * 8
    for (label, case), mask in shown.masks.items():
        cell = shown.cells[(shown.cells.label == label) & (shown.cells.fold == int(case.split()[1][0]))].id.item()
        kept = ledger.evidence(cell, "predictions").astype({"case": str}).set_index(["case", "slice"])
        row = kept.loc[(case, shown.views[case].slice)]
        assert np.array_equal(mask, unpacked(row["mask"], row.height, row.width))
        scores = (
            ledger.read(cell)
            .slices.astype({"case": str})
            .set_index(["case", "slice"])
            .loc[(case, shown.views[case].slice)]
        )
        target = shown.views[case].target
        assert ((mask & target).sum(), (mask & ~target).sum()) == (scores.tp, scores.fp)


def test_a_later_seed_stands_in_where_the_first_is_missing(swept) -> None:
    found = results.collect(swept(STUDY, without=[("fpa", 0, 0)]), STUDY)
    cells = evidence.gather(found.cells, found.table.data_hash).cells
    assert cells[cells.label == "fpa"].set_index("fold").seed.to_dict() == {0: 1, 1: 0}


def test_rows_come_as_reference_then_claimed_then_best(shown) -> None:
    best = shown.dice.mean().drop("unet").idxmax()
    worst = shown.dice.mean().drop("unet").idxmin()
    assert evidence.columns(shown, STUDY, 2) == ["unet", best]
    claimed = replace(STUDY, claims=(Claim(id="C1", text="?", row=worst, over=("unet",)),))
    assert evidence.columns(shown, claimed, 3) == ["unet", worst, best]


def test_cases_stand_at_their_quantiles_and_only_once() -> None:
    values = pd.Series({"e": 0.5, "a": 0.1, "c": 0.3, "b": 0.2, "d": 0.4, "never tested": np.nan})
    assert evidence.at_quantiles(values, (0, 0.5, 1)) == {"a": 0, "c": 0.5, "e": 1}
    assert evidence.at_quantiles(values[["a", "b"]], (0.1, 0.3, 0.7)) == {"a": 0.1, "b": 0.7}
    assert evidence.at_quantiles(values[["never tested"]]) == {}


def test_pixels_fixed_and_broken_are_those_of_the_masks_themselves(found, shown) -> None:
    """Here the targets of the slices shown are known, so that their pixels can be counted one by one."""
    counted = evidence.changed(shown, "fpa", "unet")
    assert set(counted.index) == set(shown.views)
    by_hand = {}
    for case, view in shown.views.items():
        layers = mistakes.layers(shown.masks["fpa", case], shown.masks["unet", case], view.target)
        by_hand[case] = [mask.sum() for mask, _ in layers]
    ids = shown.cells[shown.cells.label.isin(["fpa", "unet"])]
    for case in shown.views:  # the other slices' pixels, from the stored counts alone
        parts = counted.loc[case]
        wrong = {}
        for label in ("fpa", "unet"):
            slices = pd.concat([ledger.read(cell).slices for cell in ids.id[ids.label == label]]).astype({"case": str})
            wrong[label] = slices[slices.case == case][["fp", "fn"]].to_numpy().sum()
        assert parts.broken + parts.both == wrong["fpa"]
        assert parts.fixed + parts.both == wrong["unet"]
        assert (parts.to_numpy() >= by_hand[case]).all()


def test_mistakes_are_coloured_as_the_key_says() -> None:
    prediction = np.array([[True, True, False, False]])
    target = np.array([[True, False, True, False]])
    picture = tiles.overlaid(np.zeros((1, 4), np.uint8), tiles.mistakes(prediction, target))
    yellow, red, blue, black = picture[0].astype(int)
    assert yellow[0] > 150 and yellow[1] > 150 and yellow[2] < 80
    assert red[0] > 150 and red[1:].max() < 30
    assert blue[2] > 100 and blue[0] < 30
    assert not black.any()


@pytest.mark.parametrize("place", [(0, 0), (0, 39), (29, 20), (15, 20)])
def test_a_zoomed_square_holds_the_masks_and_lies_in_the_slice(place) -> None:
    mask = np.zeros((30, 40), bool)
    mask[place] = True
    top, left, side = tiles.square([mask])
    assert side == tiles.SMALLEST
    assert 0 <= top <= 30 - side and 0 <= left <= 40 - side
    assert mask[top : top + side, left : left + side].any()
    assert tiles.square([np.zeros((30, 40), bool)])[2] == 30


@pytest.mark.parametrize("figure", [attention, overlays, mistakes])
def test_a_figure_of_cases_is_the_same_each_time_and_names_its_choice(found, shown, figure) -> None:
    files = figure.draw(shown, found)
    assert files.keys() == FORMATS
    assert figure.draw(shown, found) == files
    text = said(files["svg"])
    assert "three on BRATS 2018" in text
    assert "Cases: at the quantiles" in text
    assert "Deviations from the study" in text


def test_without_views_or_predictions_there_is_no_figure_of_cases(found, shown) -> None:
    views.path_of(found.table.data_hash).unlink()
    bare = evidence.gather(found.cells, found.table.data_hash)
    assert [figure.draw(bare, found) for figure in (attention, overlays, mistakes)] == [{}, {}, {}]


def test_entries_from_before_evidence_are_named(found) -> None:
    cell = found.cells.id[found.cells.label == "fpa"].iloc[0]
    entry = ledger.read(cell)
    ledger.remove(cell)
    ledger.write(entry)  # without its evidence
    assert evidence.gather(found.cells, found.table.data_hash).older == ("fpa",)


def test_ranks_are_drawn_for_rows_that_tested_all_and_others_named(swept) -> None:
    found = results.collect(swept(STUDY, without=[("rfna", 1, seed) for seed in range(2)]), STUDY)
    text = said(ranks.draw(found)["svg"])
    assert "Left out, for cells that they lack: rfna." in text
    assert "aunet" in text


def test_learning_curves_show_the_column_asked_for(found) -> None:
    assert "loss" in curves.told(found)
    assert "n = 16; loss of each epoch" in said(curves.draw(found)["svg"])
    assert curves.draw(found, "validation_dice") == {}
