"""Forest plot: each row's mean paired difference to the study's reference, per patient, with its interval."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pam.report.claims import Verdict
from pam.report.figures.style import COLOURS, REFERENCE, drawn
from pam.report.tables import Table

ROW_HEIGHT = 0.19  # inches
DECIDED, OPEN = COLOURS[0], REFERENCE


def draw(verdicts: Sequence[Verdict], table: Table, reference: str) -> dict[str, bytes]:
    """The plot by format; empty if no row has an interval. Rows without one are named with "no interval".

    verdicts: of one score, one per row, as `pam.report.claims.against_reference` finds them.
    """
    if all(verdict.found is None for verdict in verdicts):
        return {}

    def fill(figure: Figure) -> None:
        ax = figure.subplots()
        ax.axvline(0, color=REFERENCE, linewidth=0.8, linestyle="--")
        for height, verdict in enumerate(verdicts):
            _row(ax, height, verdict)
        ax.set_yticks(range(len(verdicts)), [verdict.row for verdict in verdicts])
        ax.set_ylim(len(verdicts) - 0.5, -0.5)
        ax.set_xlabel("Δ Dice per patient (points of %)")

    height = ROW_HEIGHT * len(verdicts) + 0.8
    return drawn(table, height, f"{table.heading}: rows minus {reference}", _foot(verdicts), fill)


def _row(ax: Axes, height: int, verdict: Verdict) -> None:
    """A point with its interval: filled if the difference is real after Holm, hollow if undecided."""
    if verdict.found is None:
        ax.text(0, height, " no interval", va="center", fontsize=6, color=OPEN)
        return
    low, high = verdict.found.interval()
    decided = verdict.outcome != "undecided"
    colour = DECIDED if decided else OPEN
    ax.plot([100 * low, 100 * high], [height, height], color=colour, linewidth=1.1)
    face = colour if decided else "white"
    ax.plot([100 * verdict.found.mean], [height], marker="o", color=colour, markerfacecolor=face)


def _foot(verdicts: Sequence[Verdict]) -> list[str]:
    patients = sorted({verdict.found.patients for verdict in verdicts if verdict.found})
    n = f"{patients[0]}" if len(patients) == 1 else f"{patients[0]} to {patients[-1]}"
    return [
        f"Protocol patient, {n} patients; bar: 95 % interval, the wider of those over patients and over test folds.",
        "Filled: p < 5 % after Holm over the rows; hollow: undecided.",
    ]
