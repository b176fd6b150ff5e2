"""Attention maps, as the paper's Figure 4: what the deepest encoder of each network attends to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pam.report.evidence import SHOWN, Evidence, at_quantiles, chosen_by, columns
from pam.report.figures.style import drawn
from pam.report.figures.tiles import by_case, show, whole
from pam.report.results import Results

MOST = 5  # rows of the study beside each other
QUANTILES = (0.1, 0.5, 0.9)
TILE = 0.82  # inches
MAP = "cividis"  # the same to readers with and without colour blindness


def draw(evidence: Evidence, found: Results) -> dict[str, bytes]:
    """The figure by format; empty if no row has attention maps."""
    having = [label for label in evidence.dice.columns if any(label == name for name, _ in evidence.attention)]
    names = columns(evidence, found.study, MOST, among=having) if having else []
    reference = found.study.reference.name if found.study.reference.name in evidence.dice else names[0] if names else ""
    there = [case for case in evidence.dice.index if all((name, case) in evidence.attention for name in names)]
    chosen = at_quantiles(evidence.dice.loc[there, reference], QUANTILES) if names else {}
    if not chosen:
        return {}

    def fill(figure: Figure) -> None:
        modality = next(iter(evidence.views.values())).modality
        by_case(figure, modality, names, chosen, lambda axes, case: _line(axes, evidence, case, names))

    modules = sorted({found.module for (name, _), found in evidence.attention.items() if name in names})
    foot = [
        f"Output of {', '.join(modules)}, mean over its channels, stretched to the slice; outline: the target.",
        "Colour: from each map's least value (dark) to its largest (bright), both given below it.",
        chosen_by(f"the whole case's Dice under {reference}", len(evidence.dice)),
        SHOWN,
    ]
    words = max(len(name.split()) for name in names)
    return drawn(found.table, TILE * len(chosen) + 0.1 * words + 0.3, f"{found.table.heading}: attention", foot, fill)


def _line(axes: Sequence[Axes], evidence: Evidence, case: str, names: list[str]) -> None:
    view = evidence.views[case]
    whole(axes[0], view)
    height, width = view.target.shape
    for ax, name in zip(axes[1:], names, strict=True):
        values = view.shown(evidence.attention[name, case].values)
        low, high = float(values.min()), float(values.max())
        # The map's corner pixels are the slice's, as in `pam.networks.blocks.upsample`; a flat map stays dark.
        show(ax, values, cmap=MAP, vmin=low, vmax=max(high, low + 1e-6), extent=(0, width, height, 0))
        if view.target.any():
            places = np.arange(width) + 0.5, np.arange(height) + 0.5
            ax.contour(*places, view.shown(view.target), levels=[0.5], colors=["white"], linewidths=0.6)
        ax.set_xlabel(f"{low:.3f} to {high:.3f}", fontsize=5.5, labelpad=1.5)
