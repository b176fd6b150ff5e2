import math

import numpy as np
import pandas as pd
import pytest

from pam.protocols import PAPER_SCORES, deviation, mean, paper, patient_dice

N = math.nan


def slices(rows: list[tuple[str, str, float]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["cell_id", "state", "iou"])
    return frame.assign(**dict.fromkeys(PAPER_SCORES[1:], frame.iou))


def test_the_paper_leaves_slices_with_an_empty_mask_out_and_counts_them() -> None:
    found = paper(slices([("a", "both", 0.5), ("a", "both", 0.7), ("a", "miss", 0.4), ("a", "both_empty", N)]))
    assert found.loc["a", "iou"] == 0.6
    counts = found.loc["a", ["slices_both", "slices_miss", "slices_false_alarm", "slices_both_empty"]]
    assert counts.tolist() == [2, 1, 0, 1]


def test_a_cell_without_any_scorable_slice_is_undefined_and_not_dropped() -> None:
    found = paper(slices([("a", "miss", 0.4), ("b", "both", 0.5)]))
    assert math.isnan(found.loc["a", "iou"])
    assert found.loc["a", "slices_miss"] == 1


def test_an_undefined_score_in_a_scored_slice_is_not_hidden() -> None:
    assert math.isnan(paper(slices([("a", "both", N), ("a", "both", 0.5)])).loc["a", "iou"])


def test_patient_dice_pools_cases_then_averages_patients() -> None:
    cases = pd.DataFrame(
        [
            ("a", "one", 1, 0, 1),  # one: 2·(1 + 2) / (2·3 + 0 + 2) = 6/8, not the mean of its cases' 2/3 and 4/5
            ("a", "one", 2, 0, 1),
            ("a", "two", 0, 0, 5),  # a missed patient has 0
            ("a", "none", 0, 0, 0),
        ],
        columns=["cell_id", "patient", "tp", "fp", "fn"],
    )
    found = patient_dice(cases)
    assert found.loc["a"].to_dict() == {"patient_dice": 0.375, "patients": 2, "patients_both_empty": 1}


def test_means_do_not_depend_on_order() -> None:
    values = np.random.default_rng(0).random(1000) ** 9
    orders = [np.random.default_rng(seed).permutation(values) for seed in range(20)]
    assert len({mean(order) for order in orders}) == 1
    assert len({deviation(order) for order in orders}) == 1
    assert mean(values) == pytest.approx(values.mean(), rel=1e-14)
    assert deviation(values) == pytest.approx(values.std(ddof=1), rel=1e-14)


def test_nothing_has_no_mean_and_one_value_no_deviation() -> None:
    assert math.isnan(mean([]))
    assert math.isnan(deviation([0.5]))
