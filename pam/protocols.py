"""Protocols: named ways to turn stored per-slice and per-case scores into one number per cell.

Means are exact sums (`math.fsum`) divided by n: they do not depend on the order in which results are read. An undefined
value (NaN) that reaches a mean makes it NaN.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd

from pam.metrics import STATES

PAPER_SCORES = ("iou", "dice", "hd95_px", "fp_rate", "fn_rate")
PAPER_COLUMNS = ("state", *PAPER_SCORES)  # what `paper` reads of the ledger's slices
PATIENT_COLUMNS = ("patient", "tp", "fp", "fn")  # what `patient_dice` reads of the ledger's cases


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

    cases: `cell_id` and `PATIENT_COLUMNS`, one row per case; a patient's cases are pooled. Returns one row per cell_id:
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
