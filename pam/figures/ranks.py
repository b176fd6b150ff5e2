"""Rank stability: how often each row comes out first, second, … when patients and seeds are drawn again."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pam import ledger
from pam.figures.style import drawn
from pam.protocols import CASE_COLUMNS, LATER_CASE_COLUMNS, by_seed_and_patient, patient
from pam.statistics import Floats, rank_stability
from pam.study import Study
from pam.tables import Table

ROW_HEIGHT = 0.17  # inches
DRAWS = 1000
SEED = 0  # of the draws, so that the figure is the same each time
MAP = "Blues"  # one hue from light to dark: it reads in grey, too
WRITTEN = 0.10  # shares from here on are written into their square


def draw(study: Study, table: Table, cells: pd.DataFrame, score: str = "dice") -> dict[str, bytes]:
    """The plot by format; empty unless two rows have finished cells of a common seed that scored three patients."""
    names, scores = complete(study, cells, score)
    if scores.shape[0] < 2 or scores.shape[2] < 3:
        return {}
    shares = rank_stability(scores, np.random.default_rng(SEED), DRAWS)
    order = np.argsort(shares @ np.arange(len(names)), kind="stable")  # by mean rank
    _, seeds, patients = scores.shape

    def fill(figure: Figure) -> None:
        _squares(figure.subplots(), shares[order], [names[i] for i in order])

    left = [row.label for row in table.rows if row.label not in names]
    again = f"{DRAWS:,} draws of {patients} patients and {seeds} seed{'s' * (seeds != 1)}"
    foot = [
        f"Per cent of {again}, with replacement and the same for all rows, in which a row has each rank.",
        f"Unit: the patient; mean {score}, protocol patient. It describes and tests nothing.",
    ]
    if left:
        foot.append(f"Left out, for cells that they lack: {', '.join(left)}.")
    return drawn(table, ROW_HEIGHT * len(names) + 0.8, f"{table.heading}: rank stability", foot, fill)


def complete(study: Study, cells: pd.DataFrame, score: str) -> tuple[list[str], Floats]:
    """Rows and their scores (rows, seeds, patients), without a gap: in the folds and seeds that most rows have.

    A row that lacks one of these cells is left out, and a patient whose score is undefined in any row or seed.
    """
    finished = cells[cells.finished]
    having = {label: frozenset(zip(of.fold, of.seed, strict=True)) for label, of in finished.groupby("label")}
    wanted = max(having.values(), key=lambda pairs: (list(having.values()).count(pairs), len(pairs), sorted(pairs)))
    names = [row.name for row in study.rows if having.get(row.name, frozenset()) >= wanted]
    pairs = pd.MultiIndex.from_frame(finished[["fold", "seed"]])
    chosen = finished[finished.label.isin(names) & pairs.isin(sorted(wanted))]
    cases = ledger.read_many(sorted(set(chosen.id)), "cases", CASE_COLUMNS, later=LATER_CASE_COLUMNS)
    wide = by_seed_and_patient(patient(cases), chosen, score)
    seeds = sorted({seed for _, seed in wanted})
    scores = np.array([[wide.loc[(name, seed)] for seed in seeds] for name in names], dtype=np.float64)
    return names, scores[:, :, ~np.isnan(scores).any(axis=(0, 1))]


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
