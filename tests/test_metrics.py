"""Scores against values worked out by hand, brute force, SciPy, MedPy and MONAI."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose
from scipy import ndimage

from pam.metrics import DISTANCES, RATIOS, SCORES, STATES, hd95, score, score_slices, surface_distances

PIXELS = (1.0, 1.0)


def mask(*rows: str) -> np.ndarray:
    return np.array([[letter == "#" for letter in row] for row in rows])


def same(left: dict[str, object], right: dict[str, object]) -> bool:
    return str(left) == str(right)  # NaN equals NaN in print


def border_by_definition(pixels: np.ndarray) -> list[tuple[int, ...]]:
    """Mask pixels with a face neighbour outside the mask or outside the array, one pixel at a time."""
    border = []
    for index in zip(*np.nonzero(pixels), strict=True):
        for axis in range(pixels.ndim):
            for step in (-1, 1):
                other = list(index)
                other[axis] += step
                outside = not 0 <= other[axis] < pixels.shape[axis]
                if (outside or not pixels[tuple(other)]) and index not in border:
                    border.append(index)
    return border


def percentile_95(distances: list[float]) -> float:
    ordered, rank = sorted(distances), 0.95 * (len(distances) - 1)
    low = math.floor(rank)
    high = min(low + 1, len(distances) - 1)
    return ordered[low] + (rank - low) * (ordered[high] - ordered[low])


def surface_scores_by_definition(
    prediction: np.ndarray, target: np.ndarray, spacing: tuple[float, ...]
) -> dict[str, float]:
    first = [np.multiply(p, spacing) for p in border_by_definition(prediction)]
    second = [np.multiply(p, spacing) for p in border_by_definition(target)]
    forth = [min(math.dist(p, q) for q in second) for p in first]
    back = [min(math.dist(p, q) for q in first) for p in second]
    return {
        "hd95": percentile_95(forth + back),
        "hd95_directed": max(percentile_95(forth), percentile_95(back)),
        "hausdorff": max(forth + back),
        "assd": sum(forth + back) / len(forth + back),
        "surface_dice": sum(distance <= 1 for distance in forth + back) / len(forth + back),
    }


def hd95_by_scipy(prediction: np.ndarray, target: np.ndarray, spacing: tuple[float, ...]) -> float:
    borders = [pixels & ~ndimage.binary_erosion(pixels) for pixels in (prediction, target)]
    first, second = (ndimage.distance_transform_edt(~border, sampling=spacing) for border in borders)
    return float(np.percentile(np.concatenate([second[borders[0]], first[borders[1]]]), 95))


def mask_pairs() -> Iterator[tuple[str, np.ndarray, np.ndarray, tuple[float, ...]]]:
    """Non-empty pairs of every awkward kind."""
    rng = np.random.default_rng(0)
    for density in (0.05, 0.5, 0.95):
        yield f"random {density}", rng.random((17, 13)) < density, rng.random((17, 13)) < density, PIXELS
    thin = np.zeros((2, 20, 20), bool)
    thin[0, 4, 2:18] = thin[1, 2:18, 9] = True
    yield "thin", thin[0], thin[1], PIXELS
    touching = np.zeros((2, 12, 15), bool)
    touching[0, :5, :7] = touching[1, 6:, 9:] = True
    yield "touching the border", touching[0], touching[1], PIXELS
    yield "full", np.ones((9, 8), bool), touching[0, :9, :8], PIXELS
    single = np.zeros((2, 11, 9), bool)
    single[0, 0, 0] = single[1, 10, 8] = True
    yield "single pixels", single[0], single[1], PIXELS
    yield "single against itself", single[0], single[0], PIXELS
    yield "anisotropic", *(rng.random((2, 14, 14)) < 0.2), (0.5, 3.0)
    yield "volume", *(ndimage.gaussian_filter(rng.normal(size=(2, 7, 16, 15)), (0, 1, 2, 2)) > 0.05), (5.0, 0.9, 0.9)
    yield "volume of one slice", *(rng.random((2, 1, 9, 9)) < 0.3), (5.0, 1.0, 1.0)


PAIRS = [pytest.param(*pair, id=name) for name, *pair in mask_pairs()]


def test_scores_of_a_pair_worked_out_by_hand() -> None:
    prediction = mask("##..", "#...", "....")
    target = mask("##..", "....", "#...")
    scores = score(prediction, target, PIXELS)
    assert tuple(scores) == SCORES
    assert [scores[key] for key in ("state", "tp", "fp", "fn", "tn")] == ["both", 2, 1, 1, 8]
    assert [scores[key] for key in ("target_size", "predicted_size")] == [3, 3]
    assert scores["iou_foreground"] == 2 / 4
    assert scores["iou_background"] == 8 / 10
    assert scores["iou"] == pytest.approx((2 / 4 + 8 / 10) / 2)
    assert scores["dice"] == 4 / 6
    assert scores["precision"] == scores["recall"] == 2 / 3
    assert scores["fp_rate"] == 1 / 9
    assert scores["fn_rate"] == 1 / 3
    # Every pixel is a border pixel. Distances 0 0 1 and 0 0 1: rank 0.95 × 5 = 4.75 lies between 1 and 1.
    assert scores["hd95"] == 1.0


def test_dice_of_half_overlap_is_two_thirds() -> None:
    assert score(mask("##"), mask("#."), PIXELS)["dice"] == 2 / 3


def test_scores_are_plain_python_values() -> None:
    types = {type(value) for value in score(mask("#."), mask(".."), PIXELS).values()}
    assert types == {str, int, float}


N = math.nan
#                             iou_foreground background  mean  dice precision recall fp_rate fn_rate
BY_STATE = {
    "both": (mask("##.."), mask(".##."), [1 / 3, 1 / 3, 1 / 3, 1 / 2, 1 / 2, 1 / 2, 1 / 2, 1 / 2]),
    "miss": (mask("...."), mask(".##."), [0, 1 / 2, 1 / 4, 0, N, 0, 0, 1]),
    "false_alarm": (mask("##.."), mask("...."), [0, 1 / 2, 1 / 4, 0, 0, N, 1 / 2, N]),
    "both_empty": (mask("...."), mask("...."), [N, 1, N, N, N, N, 0, N]),
}


@pytest.mark.parametrize("state", STATES)
def test_each_state_leaves_undefined_what_the_table_in_the_docstring_says(state: str) -> None:
    prediction, target, expected = BY_STATE[state]
    scores = score(prediction, target, PIXELS)
    assert scores["state"] == state
    assert_allclose([scores[name] for name in RATIOS], expected)
    assert all(math.isnan(scores[name]) == (state != "both") for name in DISTANCES)
    assert_allclose(scores["surface_dice"], {"both": 1, "both_empty": N}.get(state, 0))


def test_full_masks_leave_the_background_undefined() -> None:
    scores = score(mask("##"), mask("##"), PIXELS)
    undefined = [name for name in RATIOS if math.isnan(scores[name])]
    assert undefined == ["iou_background", "iou", "fp_rate"]
    assert scores["hd95"] == 0.0


@pytest.mark.parametrize(("prediction", "target", "spacing"), PAIRS)
def test_surface_scores_agree_with_brute_force(
    prediction: np.ndarray, target: np.ndarray, spacing: tuple[float, ...]
) -> None:
    scores = score(prediction, target, spacing)
    for name, expected in surface_scores_by_definition(prediction, target, spacing).items():
        assert_allclose(scores[name], expected, rtol=1e-12, err_msg=name)
    assert scores["hd95"] == hd95(prediction, target, spacing)


@pytest.mark.parametrize(("prediction", "target", "spacing"), PAIRS)
def test_hd95_agrees_with_scipy(prediction: np.ndarray, target: np.ndarray, spacing: tuple[float, ...]) -> None:
    assert_allclose(hd95(prediction, target, spacing), hd95_by_scipy(prediction, target, spacing), rtol=1e-12)


@pytest.mark.parametrize(("prediction", "target", "spacing"), PAIRS)
def test_hd95_agrees_with_medpy(prediction: np.ndarray, target: np.ndarray, spacing: tuple[float, ...]) -> None:
    medpy = pytest.importorskip("medpy.metric.binary")
    scores = score(prediction, target, spacing)
    assert_allclose(scores["hd95"], medpy.hd95(prediction, target, spacing), rtol=1e-12)
    assert_allclose(scores["hausdorff"], medpy.hd(prediction, target, spacing), rtol=1e-12)


@pytest.mark.parametrize(("prediction", "target", "spacing"), PAIRS)
def test_directed_hd95_and_surface_scores_agree_with_monai(
    prediction: np.ndarray, target: np.ndarray, spacing: tuple[float, ...]
) -> None:
    metrics = pytest.importorskip("monai.metrics")
    torch = pytest.importorskip("torch")
    pair = [torch.from_numpy(np.array(pixels))[None, None] for pixels in (prediction, target)]
    scores = score(prediction, target, spacing)
    found = {
        "hd95_directed": metrics.compute_hausdorff_distance(*pair, percentile=95, spacing=spacing),
        "hausdorff": metrics.compute_hausdorff_distance(*pair, spacing=spacing),
        "assd": metrics.compute_average_surface_distance(*pair, symmetric=True, spacing=spacing),
        "surface_dice": metrics.compute_surface_dice(*pair, [1.0], spacing=spacing),
    }
    for name, expected in found.items():
        assert_allclose(scores[name], expected.item(), rtol=1e-6, err_msg=name)  # MONAI computes in float32


def test_the_two_definitions_of_hd95_differ_where_one_mask_has_an_island() -> None:
    scores = score(
        mask("#...................", "#..................."),
        mask("#..................#", "#..................."),
        PIXELS,
    )
    assert scores["hd95"] == pytest.approx(19 * 0.8)  # of 0 0 0 0 19: rank 3.8
    assert scores["hd95_directed"] == pytest.approx(19 * 0.9)  # of 0 0 19: rank 1.9


def test_surface_dice_counts_border_pixels_within_one_unit() -> None:
    prediction, target = mask("#....", "....."), mask("#....", "...#.")
    assert score(prediction, target, PIXELS)["surface_dice"] == 2 / 3
    assert score(prediction, target, (0.3, 0.3))["surface_dice"] == 1


def test_diagonal_is_that_of_the_array_in_the_spacings_unit() -> None:
    empty = np.zeros((155, 240, 240), bool)
    assert score(empty, empty, (1.0, 1.0, 1.0))["diagonal"] == pytest.approx(373.13, abs=0.005)  # BraTS' penalty
    assert math.isnan(score(mask("#"), mask("#"), (N, 1.0))["diagonal"])


def test_surface_distances_are_directed() -> None:
    to_target, to_prediction = surface_distances(mask("#...."), mask("#...#"), PIXELS)
    assert to_target.tolist() == [0]
    assert to_prediction.tolist() == [0, 4]


def test_hd95_counts_in_millimetres() -> None:
    assert hd95(mask("#..", "..."), mask("...", "#.."), (2.5, 1.0)) == 2.5


def test_hd95_of_an_unknown_spacing_is_undefined() -> None:
    scores = score(mask("#."), mask("##"), (N, 1.0))
    assert all(math.isnan(scores[name]) for name in (*DISTANCES, "surface_dice"))
    assert scores["dice"] == 2 / 3


def test_scores_of_slices_are_those_of_each_slice_alone() -> None:
    rng = np.random.default_rng(1)
    prediction, target = rng.random((2, 12, 5, 6)) < np.linspace(0, 0.3, 12)[:, None, None]
    prediction[3], target[4] = False, False
    stacked = score_slices(prediction, target)
    alone = [score(p, t, PIXELS) for p, t in zip(prediction, target, strict=True)]
    assert {scores["state"] for scores in stacked} == set(STATES)
    assert all(map(same, stacked, alone))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones((2, 2)), mask("##", "##"), PIXELS), "prediction has dtype float64; expected bool"),
        ((mask("##"), mask("###"), PIXELS), r"prediction has shape \(1, 2\), target \(1, 3\); expected the same"),
        ((mask("##"), mask("##"), (1.0, 1.0, 1.0)), "has 3 values for 2 axes"),
        ((mask("##"), mask("##"), (1.0, 0.0)), "expected numbers above 0"),
    ],
)
def test_masks_that_cannot_be_scored_are_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score(*arguments)


MASKS = hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=7).flatmap(
    lambda shape: st.tuples(hnp.arrays(bool, shape), hnp.arrays(bool, shape))
)


@given(MASKS)
@settings(max_examples=60, deadline=None)
def test_counts_add_up_to_the_number_of_pixels(masks: tuple[np.ndarray, np.ndarray]) -> None:
    scores = score(*masks, (1.0,) * masks[0].ndim)
    assert scores["tp"] + scores["fp"] + scores["fn"] + scores["tn"] == masks[0].size


@given(MASKS)
@settings(max_examples=60, deadline=None)
def test_swapping_the_masks_swaps_only_what_is_directed(masks: tuple[np.ndarray, np.ndarray]) -> None:
    spacing = (1.0, 2.0, 0.5)[: masks[0].ndim]
    forth, back = score(*masks, spacing), score(*masks[::-1], spacing)
    for name in ("tp", "tn", "iou_foreground", "iou_background", "iou", "dice"):
        assert same({name: forth[name]}, {name: back[name]})
    for name in (*DISTANCES, "surface_dice"):
        assert_allclose(forth[name], back[name])
    for name, other in (("fp", "fn"), ("precision", "recall"), ("target_size", "predicted_size")):
        assert same({"": forth[name]}, {"": back[other]})


@given(MASKS)
@settings(max_examples=60, deadline=None)
def test_a_mask_against_itself_has_no_error(masks: tuple[np.ndarray, np.ndarray]) -> None:
    scores = score(masks[0], masks[0], (1.0,) * masks[0].ndim)
    assert scores["fp"] == scores["fn"] == 0
    if masks[0].any():
        assert scores["dice"] == scores["iou_foreground"] == 1
        assert scores["hd95"] == 0


@given(MASKS, st.integers(0, 3), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_padding_and_moving_both_masks_changes_only_the_background(
    masks: tuple[np.ndarray, np.ndarray], before: int, after: int
) -> None:
    spacing = (1.0,) * masks[0].ndim
    moved = [np.pad(pixels, (before, after)) for pixels in masks]
    here, there = score(*masks, spacing), score(*moved, spacing)
    for name in ("state", "tp", "fp", "fn", "iou_foreground", "dice", "precision", "recall", "fn_rate", "hd95"):
        assert same({name: here[name]}, {name: there[name]})


@given(MASKS)
@settings(max_examples=60, deadline=None)
def test_hd95_is_nan_exactly_where_a_mask_is_empty(masks: tuple[np.ndarray, np.ndarray]) -> None:
    assert math.isnan(hd95(*masks, (1.0,) * masks[0].ndim)) == (not (masks[0].any() and masks[1].any()))
