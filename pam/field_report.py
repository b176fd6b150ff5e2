"""Effective receptive fields as a table and a figure."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from pam import files
from pam.networks.receptive_field import FRACTION, Field
from pam.report.figures.style import settle

HEADINGS = ("network", "stage", "branch", "area_px", "spread_px", "spread_over_main")
FLOOR = 1e-3  # the figure's darkest colour, as a part of the largest gradient
CAPTION = (
    f"area_px: pixels whose gradient exceeds {100 * FRACTION:.2f} % of the largest; spread_px: standard deviation per "
    "axis of the squared gradient; spread_over_main: ratio to the main branch's spread at the same stage. Gradient: of "
    "a stage's centre unit with respect to the image, root mean square over inputs and channels."
)

Fields = Mapping[str, Sequence[Field]]  # by the network's title


def markdown(fields: Fields, conditions: str) -> str:
    """Every branch with its area and spread; `conditions` says what the inputs and weights were."""
    lines = ["# Effective receptive fields", "", conditions, "", f"| {' | '.join(HEADINGS)} |"]
    lines += ["| --- | --- | --- | ---: | ---: | ---: |"]
    lines += [f"| {' | '.join(row)} |" for row in _rows(fields)]
    return "\n".join([*lines, "", CAPTION]) + "\n"


def comma_separated(fields: Fields) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(HEADINGS)
    writer.writerows(_rows(fields))
    return buffer.getvalue()


def draw(fields: Sequence[Field], title: str, directory: Path, name: str) -> list[Path]:
    """One panel per branch and stage that has attention (all stages if none has); NAME.png and NAME.svg."""
    attentive = {field.stage for field in fields if field.branch not in ("main", "output")}
    shown = [field for field in fields if field.stage in attentive or not attentive]
    stages = list(dict.fromkeys(field.stage for field in shown))
    branches = sorted({field.branch for field in shown}, key=lambda branch: (branch == "output", branch != "main"))
    figure = Figure(figsize=(2.1 * len(stages) + 1.2, 2.3 * len(branches) + 0.5), layout="constrained")
    axes = figure.subplots(len(branches), len(stages), squeeze=False)
    for row, branch in enumerate(branches):
        for column, stage in enumerate(stages):
            found = [field for field in shown if (field.stage, field.branch) == (stage, branch)]
            _panel(axes[row, column], found[0] if found else None)
            if column == 0:
                axes[row, 0].set_ylabel(branch)
            if row == 0:
                axes[0, column].set_title(f"{stage}\n{axes[0, column].get_title()}", fontsize=8)
    images = [image for panel in axes.flat for image in panel.images]
    figure.colorbar(images[0], ax=axes, label="gradient / its largest value", shrink=0.6)
    figure.suptitle(title, fontsize=9)
    settle(figure)
    paths = [directory / f"{name}.{suffix}" for suffix in ("png", "svg")]
    with mpl.rc_context({"svg.hashsalt": "pam"}):  # with no date either, the same fields give the same file
        for path in paths:
            with files.whole(path) as file:
                metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
                figure.savefig(file, format=path.suffix[1:], dpi=150, metadata=metadata)
    return paths


def _panel(axes: Axes, field: Field | None) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    if field is None:
        axes.axis("off")
        return
    relative = field.gradient / (field.gradient.max() or 1)
    axes.imshow(np.maximum(relative, FLOOR), norm=LogNorm(FLOOR, 1), cmap="magma", interpolation="nearest")
    axes.set_title(f"σ {field.spread_px:.1f} px, {field.area_px():,} pixels", fontsize=8)


def _rows(fields: Fields) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for title, of_network in fields.items():
        main = {field.stage: field.spread_px for field in of_network if field.branch == "main"}
        for field in of_network:
            ratio = field.spread_px / main.get(field.stage, math.nan)
            rows.append(
                (
                    title,
                    field.stage,
                    field.branch,
                    str(field.area_px()),
                    f"{field.spread_px:.2f}",
                    "–" if math.isnan(ratio) else f"{ratio:.2f}",
                )
            )
    return rows
