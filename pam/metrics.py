"""Scores of binary masks: counts, overlaps, rates and surface distances. Needs numpy and scipy only.

Undefined values are NaN, never a number made up by an epsilon. Which are defined, by where the masks have pixels:

| state         | prediction | target | iou_foreground, iou, dice | precision | recall, fn_rate | distances | surface |
|---------------|------------|--------|---------------------------|-----------|-----------------|-----------|---------|
| `both`        | some       | some   | defined                   | defined   | defined         | defined   | defined |
| `miss`        | none       | some   | defined (the first, Dice: 0) | NaN    | defined (0, 1)  | NaN       | 0       |
| `false_alarm` | some       | none   | defined (the first, Dice: 0) | 0      | NaN             | NaN       | 0       |
| `both_empty`  | none       | none   | NaN                       | NaN       | NaN             | NaN       | NaN     |

Distances and surface Dice are NaN, too, where the spacing is unknown (NaN).
`iou_background` and `fp_rate` are defined in all four, except where no background is left: `iou_background` (and so
`iou`) is NaN where both masks fill the whole array, `fp_rate` where the target does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

Mask = NDArray[np.bool_]
Counts = NDArray[np.int64]

STATES = ("both", "miss", "false_alarm", "both_empty")
COUNTS = ("tp", "fp", "fn", "tn", "target_size", "predicted_size")
RATIOS = ("iou_foreground", "iou_background", "iou", "dice", "precision", "recall", "fp_rate", "fn_rate")
DISTANCES = ("hd95", "hd95_directed", "hausdorff", "assd")
SURFACE_DICE = "surface_dice"
DIAGONAL = "diagonal"
SCORES = ("state", *COUNTS, *RATIOS, *DISTANCES, SURFACE_DICE, DIAGONAL)
TOLERANCE = 1.0  # of surface Dice, in the spacing's unit: one pixel of a slice, one millimetre of a volume


def score(prediction: Mask, target: Mask, spacing_mm: Sequence[float]) -> dict[str, object]:
    """All scores of one mask pair, (h w) or (d h w); keys are `SCORES`.

    state           one of `STATES`, see the table above
    tp fp fn tn     pixels; target_size = tp + fn, predicted_size = tp + fp
    iou_foreground  tp / (tp + fp + fn); iou_background: tn / (tn + fp + fn); iou: the mean of the two
    dice            2 tp / (2 tp + fp + fn)
    precision       tp / (tp + fp); recall: tp / (tp + fn)
    fp_rate         fp / (fp + tn); fn_rate: fn / (fn + tp)
    hd95            95th percentile of the pooled surface distances (MedPy's definition)
    hd95_directed   the larger of the two directed 95th percentiles (MONAI, Metrics Reloaded)
    hausdorff       the largest surface distance; assd: the mean of the pooled ones (average symmetric)
    surface_dice    share of both borders' pixels within `TOLERANCE` of the other border (Nikolov et al. 2018, counting
                    border pixels instead of surface areas, as MONAI does)
    diagonal        of the array, from outer corner to outer corner: no score, but what a protocol may give a miss

    Distances, tolerance and diagonal are in the unit of `spacing_mm`.

    Raises `ValueError` for masks that are not boolean, shapes that differ, or a spacing that does not fit them.
    """
    _check(prediction, target, spacing_mm)
    columns = _columns(*_confusion(prediction[None], target[None]))
    return {name: values[0] for name, values in columns.items()} | _surface_scores(prediction, target, spacing_mm)


def score_slices(prediction: Mask, target: Mask, spacing: Sequence[float] = (1.0, 1.0)) -> list[dict[str, object]]:
    """`score` of each slice of two stacks (n h w): n dictionaries. The default spacing gives distances in pixels."""
    _check(prediction, target, (1.0, *spacing))
    columns = _columns(*_confusion(prediction, target))
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return [row | _surface_scores(p, t, spacing) for row, p, t in zip(rows, prediction, target, strict=True)]


def hd95(prediction: Mask, target: Mask, spacing_mm: Sequence[float]) -> float:
    """95th percentile of the pooled surface distances; NaN unless both masks are non-empty and the spacing is known.

    Source: MedPy's hd95. Differs from MONAI and Metrics Reloaded, which take the larger directed percentile.
    """
    distances = surface_distances(prediction, target, spacing_mm)
    if distances is None:
        return math.nan
    return float(np.percentile(np.concatenate(distances), 95))


def _surface_scores(prediction: Mask, target: Mask, spacing: Sequence[float]) -> dict[str, object]:
    """`DISTANCES`, surface Dice and diagonal of one pair."""
    diagonal = math.hypot(*np.multiply(prediction.shape, spacing).tolist())
    distances = surface_distances(prediction, target, spacing)
    if distances is None:
        one_empty = bool(prediction.any() != target.any()) and not math.isnan(diagonal)
        return {**dict.fromkeys(DISTANCES, math.nan), SURFACE_DICE: 0.0 if one_empty else math.nan, DIAGONAL: diagonal}
    pooled = np.concatenate(distances)
    return {
        "hd95": float(np.percentile(pooled, 95)),
        "hd95_directed": max(float(np.percentile(directed, 95)) for directed in distances),
        "hausdorff": float(pooled.max()),
        "assd": math.fsum(pooled.tolist()) / len(pooled),
        SURFACE_DICE: float(np.mean(pooled <= TOLERANCE)),
        DIAGONAL: diagonal,
    }


def surface_distances(
    prediction: Mask, target: Mask, spacing_mm: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Distance of each border pixel of the prediction to the target's border, and the other way round.

    None unless both masks are non-empty and no spacing is NaN (which stands for an unknown one).
    A border pixel belongs to the mask and has a 4-neighbour (6 in 3-D) that does not or lies outside the array.
    """
    _check(prediction, target, spacing_mm)
    if np.isnan(spacing_mm).any():
        return None
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    predicted, true = _border(prediction) * spacing, _border(target) * spacing
    if not len(predicted) or not len(true):
        return None
    return _nearest(predicted, true), _nearest(true, predicted)


def _nearest(points: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance of each point (n k) to the nearest of the others (m k)."""
    tree = KDTree(others, balanced_tree=False, compact_nodes=False)  # points on a grid: halves the time of building
    return np.asarray(tree.query(points)[0])


def _border(mask: Mask) -> NDArray[np.intp]:
    """Indices (n k) of the mask's border pixels; found inside its bounding box, which changes no pixel's neighbours."""
    box = _bounding_box(mask)
    if box is None:
        return np.empty((0, mask.ndim), dtype=np.intp)
    inside = mask[box]
    within = (slice(1, -1),) * mask.ndim
    core = inside[within].copy()
    for axis in range(mask.ndim):
        for shifted in (slice(None, -2), slice(2, None)):
            core &= inside[(*within[:axis], shifted, *within[axis + 1 :])]
    border = inside.copy()
    border[within] ^= core
    indices: NDArray[np.intp] = np.argwhere(border) + [side.start for side in box]
    return indices


def _bounding_box(mask: Mask) -> tuple[slice, ...] | None:
    """The smallest box that holds the mask; None if it is empty. Each axis is searched in what the last one left."""
    box = [slice(None)] * mask.ndim
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        occupied = np.flatnonzero(mask[tuple(box)].any(axis=others))
        if not len(occupied):
            return None
        box[axis] = slice(int(occupied[0]), int(occupied[-1]) + 1)
    return tuple(box)


def _confusion(prediction: Mask, target: Mask) -> tuple[Counts, Counts, Counts, Counts]:
    """tp, fp, fn and tn of each item of two stacks (n …), each (n)."""
    axes = tuple(range(1, prediction.ndim))
    tp = np.asarray(np.count_nonzero(prediction & target, axis=axes))
    fp = np.asarray(np.count_nonzero(prediction, axis=axes)) - tp
    fn = np.asarray(np.count_nonzero(target, axis=axes)) - tp
    return tp, fp, fn, math.prod(prediction.shape[1:]) - tp - fp - fn


def _columns(tp: Counts, fp: Counts, fn: Counts, tn: Counts) -> dict[str, list[object]]:
    """State, counts and ratios of n mask pairs, as plain Python values."""
    foreground, background = _ratio(tp, tp + fp + fn), _ratio(tn, tn + fp + fn)
    columns = {
        "state": np.array(STATES)[2 * (tp + fn == 0) + (tp + fp == 0)],
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "tn": tn,
        "target_size": tp + fn,
        "predicted_size": tp + fp,
        "iou_foreground": foreground,
        "iou_background": background,
        "iou": (foreground + background) / 2,
        "dice": _ratio(2 * tp, 2 * tp + fp + fn),
        "precision": _ratio(tp, tp + fp),
        "recall": _ratio(tp, tp + fn),
        "fp_rate": _ratio(fp, fp + tn),
        "fn_rate": _ratio(fn, fn + tp),
    }
    return {name: values.tolist() for name, values in columns.items()}


def _ratio(part: Counts, whole: Counts) -> NDArray[np.float64]:
    """The ratio of two counts, NaN where the whole is zero."""
    ratio: NDArray[np.float64] = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole != 0)
    return ratio


def _check(prediction: Mask, target: Mask, spacing: Sequence[float]) -> None:
    for name, mask in (("prediction", prediction), ("target", target)):
        if mask.dtype != np.bool_:
            raise ValueError(f"{name} has dtype {mask.dtype}; expected bool: threshold it first")
    if prediction.shape != target.shape:
        raise ValueError(f"prediction has shape {prediction.shape}, target {target.shape}; expected the same")
    if len(spacing) != prediction.ndim:
        raise ValueError(
            f"spacing {tuple(spacing)} has {len(spacing)} values for {prediction.ndim} axes; expected one each"
        )
    if any(side <= 0 for side in spacing):
        raise ValueError(f"spacing {tuple(spacing)}; expected numbers above 0, or NaN where unknown")
