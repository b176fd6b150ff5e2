"""Rank stability: how often each row comes out first, second, … when patients and seeds are drawn again."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pam.report.comparison import DRAWS, rank_shares
from pam.report.figures.style import drawn
from pam.report.results import Results
from pam.statistics import Floats

ROW_HEIGHT = 0.17  # inches
MAP = "Blues"  # one hue from light to dark: it reads in grey, too
WRITTEN = 0.10  # shares from here on are written into their square


def draw(found: Results) -> dict[str, bytes]:
    """The plot by format; empty for fewer than two rows, or where no seed has tested every patient."""
    names, shares = rank_shares(found)
    if len(names) < 2:
        return {}
    order = np.argsort(shares @ np.arange(len(names)), kind="stable")  # by mean rank
    patients = len(found.scores["patient"].patients)

    def fill(figure: Figure) -> None:
        _squares(figure.subplots(), shares[order], [names[i] for i in order])

    table = found.table
    left = [row.label for row in table.rows if row.label not in names]
    foot = [
        f"Per cent of {DRAWS:,} draws of patients and seeds, with replacement and the same for all rows, in which",
        f"a row has each rank. Unit: the patient, n = {patients}; mean Dice, protocol patient.",
        "It describes and tests nothing.",
    ]
    if left:
        foot.append(f"Left out, for cells that they lack: {', '.join(left)}.")
    return drawn(table, ROW_HEIGHT * len(names) + 0.8, f"{table.heading}: rank stability", foot, fill)


def _squares(ax: Axes, shares: Floats, names: list[str]) -> None:
    ax.imshow(shares, cmap=MAP, vmin=0, vmax=1, aspect="auto")
    for row, column in np.argwhere(shares >= WRITTEN):
        share = shares[row, column]
        ax.text(
            column,
            row,
            f"{100 * share:.0f}",
            ha="center",
            va="center",
            fontsize=5.5,
            color="white" if share > 0.5 else "black",
        )
    ax.set_yticks(range(len(names)), names)
    ax.set_xticks(range(len(names)), [str(rank + 1) for rank in range(len(names))])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("rank (1: highest mean)")
