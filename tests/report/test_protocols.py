import math

import numpy as np
import pandas as pd
import pytest

from pam.protocols import (
    PAPER_SCORES,
    brats,
    deviation,
    distance_in_pixels,
    mean,
    paper,
    patient,
    patient_dice,
    patient_states,
    without_spacing,
)

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


def cases() -> pd.DataFrame:
    return pd.DataFrame(
        [
            ("a", "two scans", "both", 1, 0, 1, 8, 2.0, 50.0),
            ("a", "two scans", "miss", 0, 0, 2, 8, N, 50.0),
            ("a", "alarm", "false_alarm", 0, 5, 0, 5, N, 40.0),
            ("a", "nothing", "both_empty", 0, 0, 0, 10, N, 40.0),
        ],
        columns=["cell_id", "patient", "state", "tp", "fp", "fn", "tn", "hd95_mm", "diagonal_mm"],
    )


def test_a_miss_and_a_false_alarm_are_the_images_diagonal_away() -> None:
    found = patient(cases()).loc["a"]
    # two scans: tp 1, fn 3, tn 16; distances 2 and 50
    assert found.loc["two scans"].tolist() == pytest.approx([2 / 5, (1 / 4 + 16 / 19) / 2, 3 / 4, 26])
    assert found.loc["alarm", ["dice", "hd95_mm"]].tolist() == [0, 40]
    assert math.isnan(found.loc["alarm", "fn_rate"])
    assert found.loc["nothing"].isna().all()


def test_brats_scores_empty_masks_as_its_organisers_do() -> None:
    found = brats(cases()).loc["a"]
    assert found.loc["alarm"].tolist() == pytest.approx([0, 373.13], abs=0.005)
    assert found.loc["nothing"].tolist() == [1, 0]
    assert found.loc["two scans", "hd95_mm"] == pytest.approx((2 + 373.13) / 2, abs=0.005)


def test_an_entry_without_diagonal_leaves_only_missed_patients_undefined() -> None:
    found = patient(cases().assign(diagonal_mm=N)).loc["a"]
    assert math.isnan(found.loc["two scans", "hd95_mm"])
    assert found.loc["two scans", "dice"] == 2 / 5


def test_distances_in_pixels_are_the_mean_over_slices_with_a_mask_and_empty_masks_cost_the_slices_diagonal() -> None:
    slices = pd.DataFrame(
        [
            ("a", "p", "both", 2.0, 30.0),
            ("a", "p", "both_empty", N, 30.0),  # does not count
            ("a", "p", "miss", N, 30.0),
            ("a", "p", "false_alarm", N, 31.0),
            ("a", "nothing", "both_empty", N, 30.0),
            ("b", "p", "both", 4.0, 30.0),
        ],
        columns=["cell_id", "patient", "state", "hd95_px", "diagonal_px"],
    )
    assert distance_in_pixels(slices).to_dict() == {("a", "p"): 21.0, ("b", "p"): 4.0}
    assert math.isnan(distance_in_pixels(slices.assign(diagonal_px=N))["a", "p"])


def test_spacing_is_unknown_where_no_case_tells_a_distance_or_diagonal_in_mm() -> None:
    assert not without_spacing(cases())
    assert not without_spacing(cases().assign(hd95_mm=N))  # every mask empty, spacing known
    assert without_spacing(cases().assign(hd95_mm=N, diagonal_mm=N))


def test_a_patients_state_pools_its_cases() -> None:
    found = patient_states(cases()).loc["a"]
    assert found.to_dict() == {"two scans": "both", "alarm": "false_alarm", "nothing": "both_empty"}
