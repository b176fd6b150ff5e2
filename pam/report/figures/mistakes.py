"""Mistakes of one row against another's: fixed by it, newly broken by it, or wrong in both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pam.report.evidence import SHOWN, Evidence, at_quantiles, changed, chosen_by, columns
from pam.report.figures.style import COLOURS, REFERENCE, drawn
from pam.report.figures.tiles import Layers, overlaid, show, square, whole
from pam.report.results import Results
from pam.statements import Claim
from pam.study import Study

FIXED, BROKEN, BOTH = COLOURS[2], COLOURS[3], COLOURS[4]
TILE = 0.86  # inches


def draw(evidence: Evidence, found: Results) -> dict[str, bytes]:
    """The figure by format; empty if there are no two rows with masks of the same cases."""
    pair = compared(evidence, found.study)
    if pair is None:
        return {}
    better, other = pair
    pixels = changed(evidence, better, other)
    gain = (pixels.fixed - pixels.broken).sort_values(kind="stable")
    there = [case for case in gain.index if {(better, case), (other, case)} <= evidence.masks.keys()]
    chosen = at_quantiles(gain.loc[there])
    if not chosen:
        return {}

    def fill(figure: Figure) -> None:
        parts = figure.add_gridspec(2, 1, height_ratios=[2 * TILE + 0.35, 1.0])
        axes = parts[0].subgridspec(2, len(chosen)).subplots(squeeze=False)
        for column, (case, quantile) in enumerate(chosen.items()):
            _case(list(axes[:, column]), evidence, case, better, other)
            axes[0, column].set_title(f"{100 * quantile:.0f} %", fontsize=6)
            axes[1, column].set_xlabel(f"net {gain[case]:+,.0f} px".replace("-", "−"), fontsize=6, labelpad=1.5)
        _cohort(figure.add_subplot(parts[1]), pixels.loc[gain.index])

    total = pixels.sum()
    foot = [
        chosen_by("the net gain (pixels fixed − broken in all its slices)", len(pixels)),
        SHOWN,
        "Below: every case by its net gain.",
        f"All slices: {total.fixed:,} px fixed, {total.broken:,} broken, {total.both:,} wrong in both.",
    ]
    key = (("fixed", FIXED), ("newly broken", BROKEN), ("wrong in both", BOTH))
    return drawn(found.table, 2 * TILE + 2.0, f"{found.table.heading}:\n{better} against {other}", foot, fill, key=key)


def compared(evidence: Evidence, study: Study) -> tuple[str, str] | None:
    """A row and the one it is held against: the first claim's if both have masks, else the best and the reference."""
    labels = evidence.labels
    for claim in study.claims:
        if isinstance(claim, Claim) and {claim.row, claim.over[0]} <= set(labels):
            return claim.row, claim.over[0]
    best = [label for label in columns(evidence, study, len(labels)) if label != study.reference.name]
    return (best[0], study.reference.name) if best and study.reference.name in labels else None


def layers(better: np.ndarray, other: np.ndarray, target: np.ndarray) -> Layers:
    """Where (h w) a row is right and the other wrong, the reverse, and where both are wrong."""
    return (
        ((better == target) & (other != target), FIXED),
        ((better != target) & (other == target), BROKEN),
        ((better != target) & (other != target), BOTH),
    )


def _case(axes: Sequence[Axes], evidence: Evidence, case: str, better: str, other: str) -> None:
    view = evidence.views[case]
    target, a, b = (
        view.shown(mask) for mask in (view.target, evidence.masks[better, case], evidence.masks[other, case])
    )
    top, left, side = box = square([target, a, b])
    whole(axes[0], view, box)
    picture = overlaid(view.shown(view.image), layers(a, b, target))
    show(axes[1], picture[top : top + side, left : left + side])


def _cohort(ax: Axes, pixels: pd.DataFrame) -> None:
    """A bar per case: fixed upwards, broken downwards; the line is their sum."""
    places = np.arange(len(pixels))
    ax.bar(places, pixels.fixed, width=1.0, color=FIXED, linewidth=0)
    ax.bar(places, -pixels.broken, width=1.0, color=BROKEN, linewidth=0)
    ax.step(places, pixels.fixed - pixels.broken, where="mid", color="black", linewidth=0.8)
    ax.axhline(0, color=REFERENCE, linewidth=0.6)
    ax.set_ylabel("pixels")
    ax.set_xlabel("cases, by net gain (line)")
    ax.set_xticks([])
    ax.set_xlim(-0.6, len(pixels) - 0.4)
