"""Figures of a prepared data set: sizes, intensities, and a contact sheet."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from pam.data.store import Store
from pam.data_summary import Intensity
from pam.datasets import DATASETS
from pam.report.figures.style import ALARM, COLOURS, METADATA, PHANTOM, STYLE, YELLOW, settle
from pam.views import grey

TILES, COLUMNS = 24, 4
WIDTH = 3.6  # inches: fonts are then readable on a phone, whose screen this is about as wide as
DPI = 250
BINS = 24


def contact_sheet(store: Store, shown: pd.DataFrame) -> bytes:
    """A PNG of these cases of `pam.data_summary.cases_of`, their targets outlined."""
    columns = max(2, min(COLUMNS, len(shown)))
    rows = -(-len(shown) // columns)
    height, width = store.images.shape[-2:]

    def draw(figure: Figure) -> None:
        axes = figure.subplots(rows, columns, squeeze=False)
        for ax in axes.flat:
            ax.axis("off")
        places = zip(shown.case.tolist(), shown.row.tolist(), shown.share.tolist(), strict=True)
        for ax, (case, row, share) in zip(axes.flat, places, strict=False):
            _slice(ax, store, case, row)
            ax.set_title(f"{_short(case)}\n{percent(share)}", fontsize=4)

    return _png(store, rows * (WIDTH / columns * height / width + 0.2) + 0.2, draw)


def tile(store: Store, case: str, row: int) -> bytes:
    """A PNG of one slice, its target outlined, without margins."""
    height, width = store.images.shape[-2:]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.5, 1.5 * height / width))
        FigureCanvasAgg(figure)
        ax = figure.add_axes((0, 0, 1, 1))
        ax.axis("off")
        _slice(ax, store, case, row)
        return _saved(figure)


def modality(store: Store) -> str:
    """The one that slices are shown in."""
    return DATASETS.build(store.dataset).shown or store.modalities[-1]


def sizes(store: Store, cases: pd.DataFrame) -> bytes:
    """A PNG: target per patient, and the share of target in the slices that have some."""
    spaced = cases.volume_ml.notna().all()
    per_patient = cases.groupby("patient")["volume_ml" if spaced else "target"].sum()
    index = store.index[store.index.target_pixels > 0]
    share = 100 * index.target_pixels / (store.images.shape[-1] * store.images.shape[-2])

    def draw(figure: Figure) -> None:
        top, bottom = figure.subplots(2, 1)
        _histogram(top, per_patient[per_patient > 0], COLOURS[0], "ml" if spaced else "pixels")
        top.set_xlabel(f"target per patient ({'ml' if spaced else 'pixels'})")
        top.set_ylabel("patients")
        _histogram(bottom, share, COLOURS[1], "%")
        bottom.set_xlabel("share of a slice's pixels, of slices with target (%)")
        bottom.set_ylabel("slices")

    return _png(store, 3.2, draw)


def intensities(store: Store, found: Sequence[Intensity]) -> bytes:
    """A PNG: each modality's distribution, in all that is not zero and in the target."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots(len(found), 1, squeeze=False, sharex=True)[:, 0]
        for ax, intensity in zip(axes, found, strict=True):
            middles = (intensity.edges[:-1] + intensity.edges[1:]) / 2
            ax.fill_between(middles, intensity.brain, color=COLOURS[0], alpha=0.35, linewidth=0, label="all non-zero")
            ax.plot(middles, intensity.target, color=COLOURS[1], label="target")
            ax.set_ylabel(intensity.modality)
            ax.set_yticks([])
            ax.set_ylim(0)
        axes[0].legend()
        axes[-1].set_xlabel("standard deviations from the case's mean")

    return _png(store, 0.95 * len(found) + 0.4, draw)


def _slice(ax: Axes, store: Store, case: str, row: int) -> None:
    turned = 2 if store.geometry(case) is not None else 0  # RAS+ as a radiologist sees it
    channel = store.modalities.index(modality(store))
    image = np.rot90(grey(np.array(store.images[row]), channel), turned)
    target = np.rot90(store.masks[row] > 0, turned)
    ax.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    if target.any():
        ax.contour(target, levels=[0.5], colors=[YELLOW], linewidths=0.7)


def _histogram(ax: Axes, values: pd.Series[float], colour: str, unit: str) -> None:
    """Over logarithmic bins where the values span more than a factor of 20."""
    low, high = float(values.min()), float(values.max())
    if not high > low:  # none, or all the same
        words = "no target" if values.empty else f"{_number(low)} {unit} ({len(values)} in all)"
        ax.text(0.5, 0.5, words, ha="center", transform=ax.transAxes)
        ax.set_xticks([])
        ax.set_yticks([])
        return
    wide = high > 20 * low
    edges = np.geomspace(low, high * 1.0001, BINS) if wide else np.linspace(low, high * 1.0001, BINS)
    ax.hist(values, edges.tolist(), color=colour, edgecolor="white", linewidth=0.3)
    if wide:
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_formatter(NullFormatter())
    median = float(values.median())
    ax.axvline(median, color="black", linewidth=0.8, linestyle="--")
    ax.set_title(f"median {_number(median)}, from {_number(low)} to {_number(high)} {unit}")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def percent(share: float) -> str:
    return f"{share:.1%}" if share >= 0.01 else f"{share:.2%}" if share >= 0.0001 else f"{share:.4%}"


def _short(case: str) -> str:
    return case if len(case) <= 26 else f"{case[:12]}…{case[-13:]}"


def _png(store: Store, height: float, draw: Callable[[Figure], None]) -> bytes:
    """The same store gives the same bytes."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        if store.phantom:
            figure.suptitle(PHANTOM, fontsize=6, color=ALARM)
        settle(figure)
        return _saved(figure)


def _saved(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata=METADATA["png"])
    return buffer.getvalue()
