"""Overlays, as the paper's Figures 5 and 6: false negatives blue, true positives yellow, false positives red."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pam.report.evidence import SHOWN, Evidence, at_quantiles, chosen_by, columns
from pam.report.figures.style import drawn
from pam.report.figures.tiles import (
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    TRUE_POSITIVE,
    by_case,
    dice,
    mistakes,
    overlaid,
    show,
    square,
    whole,
)
from pam.report.results import Results

MOST = 5  # rows of the study beside each other
TILE = 0.79  # inches
KEY = (("missed (FN)", FALSE_NEGATIVE), ("found (TP)", TRUE_POSITIVE), ("false alarm (FP)", FALSE_POSITIVE))


def draw(evidence: Evidence, found: Results) -> dict[str, bytes]:
    """The figure by format; empty if the reference, or the first row that has masks, shows no case."""
    names = columns(evidence, found.study, MOST)
    chosen = at_quantiles(evidence.dice.loc[list(_shown(evidence, names)), names[0]]) if names else {}
    if not chosen:
        return {}

    def fill(figure: Figure) -> None:
        modality = next(iter(evidence.views.values())).modality
        by_case(figure, modality, names, chosen, lambda axes, case: _line(axes, evidence, case, names))

    foot = [
        chosen_by(f"the whole case's Dice under {names[0]}", len(evidence.dice)),
        SHOWN,
        "Box and outline: what the tiles show, and the target. Number: Dice of the tile's slice.",
        f"Rows: {names[0]}, then those that a claim compares, then the highest mean Dice.",
    ]
    words = max(len(name.split()) for name in names)
    return drawn(
        found.table, TILE * len(chosen) + 0.1 * words + 0.45, f"{found.table.heading}: mistakes", foot, fill, key=KEY
    )


def _shown(evidence: Evidence, names: list[str]) -> list[str]:
    """Cases that every row shown has a mask of."""
    return [case for case in evidence.dice.index if all((name, case) in evidence.masks for name in names)]


def _line(axes: Sequence[Axes], evidence: Evidence, case: str, names: list[str]) -> None:
    view = evidence.views[case]
    target = view.shown(view.target)
    predictions = [view.shown(evidence.masks[name, case]) for name in names]
    top, left, side = box = square([target, *predictions])
    whole(axes[0], view, box)
    for ax, prediction in zip(axes[1:], predictions, strict=True):
        picture = overlaid(view.shown(view.image), mistakes(prediction, target))
        show(ax, picture[top : top + side, left : left + side])
        ax.set_xlabel(f"{dice(prediction, target):.2f}", fontsize=6, labelpad=1.5)
