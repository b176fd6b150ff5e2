"""A study's panels, as the paper's Figure 7: a score over one factor, a line per value of another, bars over cells."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pam.errors import StudyError
from pam.report.figures.style import COLOURS, MARKERS, REFERENCE, drawn
from pam.report.tables import PROTOCOL, Row, Summary, Table
from pam.study import Panel, Study, Variant

ROW_HEIGHT = 1.75  # inches
DODGE = 0.08  # between the lines of a panel, in steps of the factor, so that error bars stay apart
NO_RESULT = Summary(mean=math.nan, sd=math.nan, n=0)


def draw(study: Study, table: Table) -> dict[str, bytes]:
    """The figure by format, empty for a study without panels.

    Raises `StudyError` for a panel that no row of the study fits.
    """
    if not study.panels:
        return {}
    columns = min(2, len(study.panels))
    lines = math.ceil(len(study.panels) / columns)

    def fill(figure: Figure) -> None:
        grid = figure.subplots(lines, columns, sharey=True, squeeze=False)
        for ax in grid[:, 0]:
            ax.set_ylabel("IoU (%)")
        by_label = {row.label: row for row in table.rows}
        for ax, panel in zip(grid.flat, study.panels, strict=False):
            _panel(ax, panel, study, by_label)
        for ax in grid.flat[len(study.panels) :]:
            ax.set_axis_off()

    return drawn(table, ROW_HEIGHT * lines + 0.35, table.heading, _foot(study, table), fill)


def rows_of(panel: Panel, study: Study) -> dict[tuple[Any, Any], Variant]:
    """The study's rows that belong to a panel, by (value on the axis, value of the line), in the study's order."""
    found: dict[tuple[Any, Any], Variant] = {}
    for row in study.rows:
        settings = {**row.options, **row.recipe}
        fits = row.network == panel.network and panel.where.items() <= settings.items()
        if fits and {panel.over, panel.lines} <= settings.keys():
            key = (settings[panel.over], settings[panel.lines])
            if key in found:
                raise StudyError(
                    f"panel {panel.name!r}: rows {found[key].name!r} and {row.name!r} are one point; narrow `where`"
                )
            found[key] = row
    if not found:
        raise StudyError(
            f"panel {panel.name!r}: no row of study {study.name!r} is {panel.network!r} with {dict(panel.where)} "
            f"and sets {panel.over!r} and {panel.lines!r}"
        )
    return found


def _panel(ax: Axes, panel: Panel, study: Study, by_label: dict[str, Row]) -> None:
    points = rows_of(panel, study)
    values = list(dict.fromkeys(over for over, _ in points))
    lines = list(dict.fromkeys(line for _, line in points))
    _reference(ax, by_label.get(study.reference.name))
    for i, line in enumerate(lines):
        shift = (i - (len(lines) - 1) / 2) * DODGE
        rows = {x: by_label.get(points[value, line].name) for x, value in enumerate(values) if (value, line) in points}
        _line(ax, rows, shift, label=str(line), style=_style(i))
    where = ", ".join(f"{key}={value}" for key, value in panel.where.items())
    ax.set_title(f"{panel.name}) {panel.network}{f' ({where})' if where else ''}", loc="left", pad=15)
    ax.set_xticks(range(len(values)), [str(value) for value in values])
    ax.margins(y=0.12)  # room for the × of missing points
    ax.set_xlim(-0.4, len(values) - 0.6)
    ax.set_xlabel(panel.over)
    _legend(ax, panel.lines)


def _legend(ax: Axes, factor: str) -> None:
    """One line above the panel, where it hides no point: "expansion 2, 4, 8"."""
    handles, (first, *others) = ax.get_legend_handles_labels()
    ax.legend(
        handles,
        [f"{factor} {first}", *others],
        loc="lower left",
        bbox_to_anchor=(0, 0.985),
        ncols=len(handles),
        borderpad=0,
        borderaxespad=0.3,
        columnspacing=1.2,
        handlelength=1.7,
        handletextpad=0.5,
    ).set_in_layout(False)  # the title's pad holds its place


def _style(i: int) -> dict[str, Any]:
    return {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}


def _line(ax: Axes, rows: dict[int, Row | None], shift: float, label: str, style: dict[str, Any]) -> None:
    """One line with its error bars: hollow where cells are missing, × on the axis where all are."""
    places = np.array(list(rows)) + shift
    scores = [NO_RESULT if row is None else row.scores["iou"] for row in rows.values()]
    means, bars = np.array([(100 * score.mean, 100 * score.sd) for score in scores]).T
    spread = None if np.isnan(bars).all() else np.nan_to_num(bars)
    ax.errorbar(places, means, yerr=spread, capsize=1.8, elinewidth=0.8, label=label, **style)
    hollow = np.array([row is not None and bool(row.missing) for row in rows.values()])
    ax.plot(places[hollow], means[hollow], linestyle="none", markerfacecolor="white", zorder=3, **style)
    absent = places[np.isnan(means)]
    heights = np.full(len(absent), 0.03)
    ax.plot(absent, heights, linestyle="none", transform=ax.get_xaxis_transform(), **(style | {"marker": "x"}))


def _reference(ax: Axes, row: Row | None) -> None:
    """The reference as a dashed line with a band of ± SD."""
    if row is None or not row.scores["iou"].n:
        return
    score = row.scores["iou"]
    ax.axhline(100 * score.mean, color=REFERENCE, linestyle="--", linewidth=0.9, zorder=1)
    if score.n > 1:
        low, high = 100 * (score.mean - score.sd), 100 * (score.mean + score.sd)
        ax.axhspan(low, high, color=REFERENCE, alpha=0.13, linewidth=0, zorder=0)


def _foot(study: Study, table: Table) -> list[str]:
    """What is averaged and what the signs mean."""
    scores = {row.label: row.scores["iou"] for row in table.rows if row.scores["iou"].n}
    single = all(score.n == 1 for score in scores.values())
    reference = study.reference.name
    text = [
        f"IoU of both classes, protocol {PROTOCOL}:",
        "one cell per point, so no error bars;" if single else "mean ± SD over fold × seed cells;",
        f"dashed line{'' if single else ' and band'}: {reference}{'' if scores.get(reference) else ' (no result)'}.",
    ]
    if any(row.missing for row in table.rows) or any(row.name not in scores for row in study.rows):
        text.append("Hollow: some cells missing, × on the axis: no result.")
    return text
