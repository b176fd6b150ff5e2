"""Protocols: named ways to turn stored per-slice and per-case scores into one number per cell.

Means are exact sums (`math.fsum`) divided by n: they do not depend on the order in which results are read. An undefined
value (NaN) that reaches a mean makes it NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pandas as pd

from pam.metrics import STATES

PAPER_SCORES = ("iou", "dice", "hd95_px", "fp_rate", "fn_rate")
PAPER_COLUMNS = ("state", *PAPER_SCORES)  # what `paper` reads of the ledger's slices
POOLED_COLUMNS = ("patient", "tp", "fp", "fn")  # what `patient_dice` reads of the ledger's cases
CASE_COLUMNS = ("patient", "state", "tp", "fp", "fn", "tn", "hd95_mm")  # what `patient` and `brats` read of the cases
LATER_CASE_COLUMNS = ("diagonal_mm",)  # and what entries of the first version lack
SLICE_COLUMNS = ("patient", "state", "hd95_px")  # what `distance_in_pixels` reads of the slices
LATER_SLICE_COLUMNS = ("diagonal_px",)
PATIENT_SCORES = ("dice", "iou", "fn_rate", "hd95_mm")
BRATS_PENALTY_MM = math.hypot(240, 240, 155)  # 373.13: the diagonal of BraTS' 1 mm volumes, which its organisers use


def paper(slices: pd.DataFrame) -> pd.DataFrame:
    """The paper's way: each score's mean over the slices in which both masks are non-empty, per cell.

    slices: `cell_id` and `PAPER_COLUMNS`, one row per test slice. Returns one row per cell_id: `PAPER_SCORES`, NaN
    where no slice has both masks, and the number of slices in each state as `slices_both`, `slices_miss`, …
    """
    counts = pd.crosstab(slices.cell_id, slices.state).reindex(columns=list(STATES), fill_value=0)
    both = slices[slices.state == "both"].groupby("cell_id", observed=True)
    means = pd.DataFrame({name: both[name].agg(mean) for name in PAPER_SCORES}).reindex(counts.index)
    return means.join(counts.add_prefix("slices_"))


def patient_dice(cases: pd.DataFrame) -> pd.DataFrame:
    """Dice of each patient, all of the patient's slices pooled, as a mean over a cell's test patients.

    cases: `cell_id` and `POOLED_COLUMNS`, one row per case; a patient's cases are pooled. Returns one row per cell_id:
    `patient_dice`; `patients`, those in the mean (a miss or a false alarm is in it, with 0); `patients_both_empty`,
    those left out because neither mask has a pixel.
    """
    pooled = cases.groupby(["cell_id", "patient"], observed=True)[["tp", "fp", "fn"]].sum()
    whole = 2 * pooled.tp + pooled.fp + pooled.fn
    dice = (2 * pooled.tp / whole.where(whole > 0)).groupby("cell_id", observed=True)
    return pd.DataFrame(
        {
            "patient_dice": dice.agg(lambda values: mean(values.dropna())),
            "patients": dice.count(),
            "patients_both_empty": dice.size() - dice.count(),
        }
    )


def patient(cases: pd.DataFrame) -> pd.DataFrame:
    """Scores of each patient in 3-D: the counts of all its cases pooled, its distances averaged over its cases.

    cases: `cell_id`, `CASE_COLUMNS` and `LATER_CASE_COLUMNS`. Returns one row per (cell_id, patient): `PATIENT_SCORES`.
    A case in which one mask is empty has the image's diagonal as its distance (NaN if the entry does not tell it); a
    patient without a pixel in either mask has NaN in all four.
    """
    distance = cases.hd95_mm.where(cases.state == "both", cases.diagonal_mm)
    return _per_patient(cases, distance)


def without_spacing(cases: pd.DataFrame) -> bool:
    """Whether no case tells a distance in mm, because the data set's files tell no spacing."""
    return not (cases.hd95_mm.notna() | cases.diagonal_mm.notna()).any()


def distance_in_pixels(slices: pd.DataFrame) -> pd.Series[float]:
    """HD95 of each patient where the spacing is unknown: pooled by slice, in pixels, the mean over a patient's slices.

    slices: `cell_id`, `SLICE_COLUMNS` and `LATER_SLICE_COLUMNS`. A slice on which one mask is empty has its diagonal
    (NaN if the entry does not tell it); one without a pixel in either mask does not count. One value per (cell_id,
    patient) with a slice that counts. None is in 3-D: how far apart slices lie is unknown, and seldom a pixel.
    """
    distance = slices.hd95_px.where(slices.state == "both", slices.diagonal_px)
    filled = slices.assign(distance=distance)[slices.state != "both_empty"]
    return filled.groupby(["cell_id", "patient"], observed=True).distance.agg(mean)


def brats(cases: pd.DataFrame) -> pd.DataFrame:
    """Dice and HD95 of each patient with BraTS' rules: one row per (cell_id, patient), `dice` and `hd95_mm`.

    A miss or a false alarm has Dice 0 and 373.13 mm; where both masks are empty, Dice is 1 and the distance 0.
    Source: Bakas et al. (2018) and the organisers' evaluation since 2020. Differs: pooled HD95 (MedPy's definition).
    """
    distance = cases.hd95_mm.where(cases.state == "both", BRATS_PENALTY_MM)
    scores = _per_patient(cases, distance)[["dice", "hd95_mm"]]
    empty = (cases.state == "both_empty").groupby([cases.cell_id, cases.patient], observed=True).all()
    return scores.assign(dice=scores.dice.mask(empty, 1.0), hd95_mm=scores.hd95_mm.mask(empty, 0.0))


def patient_states(cases: pd.DataFrame) -> pd.Series[str]:
    """The state of each patient, all its cases pooled, of `pam.metrics.STATES`: one per (cell_id, patient)."""
    pooled = cases.groupby(["cell_id", "patient"], observed=True)[["tp", "fp", "fn"]].sum()
    codes = 2 * (pooled.tp + pooled.fn == 0).to_numpy() + (pooled.tp + pooled.fp == 0).to_numpy()
    return pd.Series(np.array(STATES)[codes], index=pooled.index)


PROTOCOLS: Mapping[str, Callable[[pd.DataFrame], pd.DataFrame]] = {"patient": patient, "brats": brats}


def _per_patient(cases: pd.DataFrame, distance: pd.Series[float]) -> pd.DataFrame:
    cases = cases.assign(distance=distance)
    pooled = cases.groupby(["cell_id", "patient"], observed=True)[["tp", "fp", "fn", "tn"]].sum()
    tp, wrong = pooled.tp, pooled.fp + pooled.fn
    filled = cases[cases.state != "both_empty"].groupby(["cell_id", "patient"], observed=True)
    foreground, background = (
        tp / (tp + wrong).where(tp + wrong > 0),
        pooled.tn / (pooled.tn + wrong).where(pooled.tn > 0),
    )
    return pd.DataFrame(
        {
            "dice": 2 * tp / (2 * tp + wrong).where(tp + wrong > 0),
            "iou": (foreground + background) / 2,
            "fn_rate": pooled.fn / (tp + pooled.fn).where(tp + pooled.fn > 0),
            "hd95_mm": filled.distance.agg(mean).reindex(pooled.index),
        }
    )


def mean(values: Iterable[float]) -> float:
    """Sum / n, NaN of nothing; the same to the last bit in any order."""
    numbers = np.asarray(list(values), dtype=float).tolist()
    return math.fsum(numbers) / len(numbers) if numbers else math.nan


def deviation(values: Iterable[float]) -> float:
    """Standard deviation with n − 1, NaN of fewer than two; the same to the last bit in any order."""
    numbers = np.asarray(list(values), dtype=float).tolist()
    centre = mean(numbers)
    return (
        math.sqrt(math.fsum((x - centre) ** 2 for x in numbers) / (len(numbers) - 1)) if len(numbers) > 1 else math.nan
    )
