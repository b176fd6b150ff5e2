"""Learning curves: a small panel per row, a thin line per cell, their mean, and the reference's mean beside it."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pam import ledger
from pam.report.figures.style import COLOURS, REFERENCE, drawn
from pam.report.figures.tiles import wrapped
from pam.report.results import Results

COLUMNS = 4
PANEL = 0.95  # inches


def draw(found: Results, column: str = "loss") -> dict[str, bytes]:
    """The figure by format; column: of the ledger's epochs. Empty if no cell tells that column."""
    table, curves = found.table, read(found.cells, column)
    names = [row.label for row in table.rows if row.label in set(curves.label)]
    if not names:
        return {}
    lines = math.ceil(len(names) / COLUMNS)
    means = curves.groupby(["label", "epoch"])[column].mean()
    reference = found.study.reference.name if found.study.reference.name in names else None

    quantity, n = column.replace("_", " "), len(set(curves.cell_id))
    foot = [
        f"Unit: the cell, n = {n}; {quantity} of each epoch.",
        f"Thin: a cell each; thick: their mean{f'; dashed: the mean of {reference}' if reference else ''}.",
    ]

    def fill(figure: Figure) -> None:
        grid = figure.subplots(lines, min(COLUMNS, len(names)), sharex=True, sharey=True, squeeze=False)
        for ax, name in zip(grid.flat, names, strict=False):
            _panel(ax, curves[curves.label == name], column, means[name])
            ax.set_title(wrapped(name), fontsize=5.5)
            if reference is not None and name != reference:
                ax.plot(means[reference], color=REFERENCE, linestyle="--", linewidth=0.8)
        for ax in grid.flat[len(names) :]:
            ax.set_axis_off()
        for ax in grid[-1]:
            ax.set_xlabel("epoch")
        for ax in grid[:, 0]:
            ax.set_ylabel(quantity)

    words = max(len(name.split()) for name in names)
    height = (PANEL + 0.09 * words) * lines + 0.4
    return drawn(table, height, f"{table.heading}: {quantity}", foot, fill)


def told(found: Results) -> list[str]:
    """The columns of the finished cells' epochs."""
    finished = found.cells[found.cells.finished]
    return list(ledger.read_many(sorted(set(finished.id))[:1], "epochs").columns)


def read(cells: pd.DataFrame, column: str) -> pd.DataFrame:
    """Columns label, cell_id, epoch and `column` of every finished cell that tells it, the finite values."""
    finished = cells[cells.finished].drop_duplicates("id")
    ids = [cell for cell in finished.id if not ledger.lacking([cell], "epochs", [column])]
    if not ids:
        return pd.DataFrame({"label": [], "cell_id": [], "epoch": [], column: []})
    epochs = ledger.read_many(ids, "epochs", ["epoch", column]).astype({"cell_id": str})
    epochs = epochs[epochs[column].notna()]
    return epochs.assign(label=epochs.cell_id.map(dict(zip(finished.id, finished.label, strict=True))))


def _panel(ax: Axes, curves: pd.DataFrame, column: str, mean: pd.Series[float]) -> None:
    for _, cell in curves.groupby("cell_id"):
        ax.plot(cell.epoch, cell[column], color=COLOURS[0], alpha=0.35, linewidth=0.5)
    ax.plot(mean, color=COLOURS[0], linewidth=1.2)
