"""What all figures share: width, colours, fonts, heading, foot, and files that are the same bytes each time."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from pam.report.tables import Table

# Okabe and Ito's palette, which colour-blind readers can tell apart; the markers differ for print without colour.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
YELLOW = "#F0E442"
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
REFERENCE = "#555555"
ALARM = "#A00000"
WIDTH = 4.8  # inches: the text width of a BMVC page, so that fonts keep their size in print
LETTERS = 106  # of the foot's font in a line of that width
PHANTOM = "PHANTOM data: the numbers say nothing about patients."
STYLE: dict[Any, Any] = {
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.8,
    "legend.fontsize": 6.5,
    "legend.frameon": False,
    "svg.hashsalt": "pam",  # ids in the SVG are the same each time
    "svg.fonttype": "path",
    "pdf.fonttype": 42,  # fonts that stay text: some journals refuse type 3
}
METADATA: dict[str, dict[str, None]] = {  # neither dates nor versions
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def drawn(
    table: Table,
    height: float,
    title: str,
    foot: Iterable[str],
    draw: Callable[[Figure], None],
    *,
    key: Sequence[tuple[str, str]] = (),
) -> dict[str, bytes]:
    """A figure of the page's width as {"png": …, "svg": …, "pdf": …}: `draw` fills it; the same input, the same bytes.

    height: in inches, the foot apart. foot: sentences; how the cells deviate from the study and whether the data is a
    phantom are added. key: what colours mean, under the title.
    """
    lines = textwrap.wrap(" ".join([*foot, *told(table)]), LETTERS)
    height += 0.105 * len(lines)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        colour = ALARM if table.phantom else "black"
        figure.suptitle(title + ("\n" if key else ""), fontsize=8, fontweight="bold", color=colour)
        if key:  # on the title's second line, which is empty
            handles = [Patch(color=colour, label=text) for text, colour in key]
            place = (0.5, 1 - (0.03 + 0.12 * (1 + title.count("\n"))) / height)
            figure.legend(handles=handles, loc="upper center", bbox_to_anchor=place, ncols=len(key), handlelength=1)
        figure.supxlabel("\n".join(lines), fontsize=6, x=0.01, ha="left")
        settle(figure)  # once, not for each format
        return {kind: _saved(figure, kind) for kind in METADATA}


def told(table: Table) -> list[str]:
    """What every figure says of its data."""
    found, expected = sum(len(row.cells) for row in table.rows), sum(row.expected for row in table.rows)
    gaps = [f"Cells: {found} of {expected} asked for."] if found < expected else []
    deviations = f"Deviations from the study: {'; '.join(table.deviations) or 'none'}."
    return [*gaps, deviations, *([PHANTOM] if table.phantom else [])]


def settle(figure: Figure) -> None:
    """Finds the layout, and keeps it.

    The solver goes by addresses in memory, so that its last bits differ from time to time; they are rounded away, or
    the same figure would not be the same bytes. Nothing is drawn here; and with no engine left, unlike with "none",
    each file is drawn once.
    """
    engine = figure.get_layout_engine()
    assert engine is not None, "a figure without a layout has nothing to settle"
    engine.execute(figure)
    figure.set_layout_engine(None)
    for ax in figure.axes:
        left, bottom, width, height = (round(float(part), 6) for part in ax.get_position(original=True).bounds)
        ax.set_position((left, bottom, width, height), which="original")


def _saved(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=300, metadata=METADATA[kind])
    return buffer.getvalue()
