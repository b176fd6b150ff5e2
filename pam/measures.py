"""The columns of tables: which scores each protocol has, in which unit they are shown, and which way is better.

A measure has one name whatever its unit: `hd95` is in mm, or in pixels where a data set tells no spacing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A column of scores, shown as value × `factor` with `decimals`. name: what a study's `columns` call it."""

    name: str
    key: str  # of the protocol's scores
    heading: str
    factor: float = 100.0
    decimals: int = 2
    more: bool = True  # a higher value is better

    @property
    def title(self) -> str:
        """What the score is called where its values are fractions; a distance keeps its unit."""
        return self.heading.removesuffix(" (%)")


IOU = Measure(name="iou", key="iou", heading="IoU (%)")
DICE = Measure(name="dice", key="dice", heading="Dice (%)")
FN = Measure(name="fn_rate", key="fn_rate", heading="FN/P (%)", more=False)
MM = Measure(name="hd95", key="hd95_mm", heading="HD95 (mm)", factor=1.0, more=False)
PX = Measure(name="hd95", key="hd95_px", heading="HD95 (px)", factor=1.0, more=False)
MEASURES: Mapping[str, tuple[Measure, ...]] = {
    "paper": (
        IOU,
        DICE,
        PX,
        Measure(name="fp_rate", key="fp_rate", heading="FP/N (%)", decimals=3, more=False),
        FN,
    ),
    "patient": (IOU, DICE, MM, PX, FN),  # one of the two distances, see `pam.protocols`
    "brats": (DICE, MM),
}
COSTS: Mapping[str, str] = {
    "parameters": "Parameters (M)",
    "gflop": "GFLOP",
    "train_time": "Training (min)",
    "peak_memory": "Memory (MB)",
}


def column_names() -> tuple[str, ...]:
    """What a study's `columns` may name: scores and costs."""
    names = [measure.name for measures in MEASURES.values() for measure in measures]
    return tuple(dict.fromkeys([*names, *COSTS]))
