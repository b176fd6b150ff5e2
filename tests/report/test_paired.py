"""Who is paired with whom, and who is left out."""

import math

import numpy as np
import pandas as pd
import pytest

from pam.measures import MEASURES
from pam.report.paired import PatientScores

N = math.nan
# label, fold, seed → each patient's Dice; fold 0 tests p and q, fold 1 tests r
DICE = {
    ("a", 0, 0): {"p": 0.5, "q": 0.1},
    ("a", 1, 0): {"r": 0.9},
    ("a", 0, 1): {"p": 0.7, "q": N},
    ("b", 0, 0): {"p": 0.4, "q": 0.1},
    ("b", 1, 0): {"r": 0.5},
    ("b", 0, 1): {"p": 0.1, "q": 0.1},
    ("b", 1, 1): {"r": 0.3},
}


def scores(dice=DICE) -> PatientScores:
    cells = pd.DataFrame([(f"{k[0]}{k[1]}{k[2]}", *k) for k in dice], columns=["id", "label", "fold", "seed"])
    rows = [(f"{k[0]}{k[1]}{k[2]}", who, value) for k, values in dice.items() for who, value in values.items()]
    frame = pd.DataFrame(rows, columns=["cell_id", "patient", "dice"]).set_index(["cell_id", "patient"])
    states = pd.Series("both", index=frame.index)
    sizes = [7 if label == "a" else N for label in cells.label]
    return PatientScores(frame, states, cells.assign(parameters=sizes), MEASURES["patient"])


def test_each_patients_seeds_are_averaged_over_those_that_tested_it_in_both_rows() -> None:
    found = scores().contrast({"a": 1.0, "b": -1.0}, "dice")
    assert found.per_patient.tolist() == pytest.approx([(0.1 + 0.6) / 2, 0.4])  # r: seed 0 alone; q: undefined once
    assert (found.folds.tolist(), found.seeds, found.left_out, found.untested) == ([0, 1], 2, 1, 0)
    assert found.complete.shape == (1, 2)  # only seed 0 has tested every patient
    assert found.fold_means.tolist() == pytest.approx([0.35, 0.4])


def test_patients_whom_no_seed_has_tested_in_both_rows_are_counted_apart() -> None:
    without = {key: value for key, value in DICE.items() if key != ("a", 1, 0)}
    found = scores(without).contrast({"a": 1.0, "b": -1.0}, "dice")
    assert (len(found.folds), found.left_out, found.untested) == (1, 1, 1)


def test_a_row_without_a_cell_pairs_with_nobody() -> None:
    found = scores().contrast({"a": 1.0, "c": -1.0}, "dice")
    assert (len(found.folds), found.untested, found.per_patient.size) == (0, 3, 0)


def test_several_contrasts_share_their_patients() -> None:
    a, b = scores().contrasts([{"a": 1.0}, {"b": 1.0}], "dice")
    assert a.per_patient.tolist() == pytest.approx([0.6, 0.9])
    assert b.per_patient.tolist() == pytest.approx([0.25, 0.5])


def test_a_patient_in_two_test_folds_is_an_error() -> None:
    with pytest.raises(ValueError, match="patient 'p' of 'a', seed 0, is in two test folds"):
        scores({**DICE, ("a", 1, 0): {"p": 0.1}})


def test_the_size_of_a_network_is_told_by_its_cells() -> None:
    assert (scores().parameters("a"), scores().parameters("b")) == (7, 0)


def test_complete_scores_have_no_gap() -> None:
    assert np.isfinite(scores().complete("dice", ["a", "b"])).all()
    assert scores().complete("dice", ["a", "b"]).shape == (2, 1, 3)
