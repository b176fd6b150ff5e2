"""Slices with coloured masks, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pam.report.figures.style import COLOURS, YELLOW
from pam.views import View

FALSE_NEGATIVE, TRUE_POSITIVE, FALSE_POSITIVE = COLOURS[0], YELLOW, "#E8000B"  # blue, yellow, red
OPACITY = 0.75
MARGIN = 1.5  # side of a zoomed square over the longest side of the masks in it
SMALLEST = 24  # pixels of a zoomed side

Layers = Sequence[tuple[np.ndarray, str]]  # masks (h w) and their colours


def overlaid(image: np.ndarray, layers: Layers) -> np.ndarray:
    """A grey slice (h w uint8) with masks laid over it, as h w 3 uint8."""
    picture = np.repeat(image[..., None] / 255.0, 3, axis=2)
    for mask, colour in layers:
        picture[mask] = (1 - OPACITY) * picture[mask] + OPACITY * np.array(to_rgb(colour))
    return (picture * 255).round().astype(np.uint8)


def mistakes(prediction: np.ndarray, target: np.ndarray) -> Layers:
    """False negatives blue, true positives yellow, false positives red."""
    return (
        (target & ~prediction, FALSE_NEGATIVE),
        (target & prediction, TRUE_POSITIVE),
        (prediction & ~target, FALSE_POSITIVE),
    )


def square(masks: Sequence[np.ndarray]) -> tuple[int, int, int]:
    """Top, left and side of a square around all that the masks (h w) mark, the whole slice's middle if nothing."""
    marked = np.logical_or.reduce(masks)
    height, width = marked.shape
    places = np.argwhere(marked)
    low, high = (places.min(0), places.max(0)) if len(places) else (np.array([0, 0]), np.array([height, width]) - 1)
    side = min(height, width, max(SMALLEST, round(MARGIN * float((high - low).max() + 1))))
    top, left = ((low + high + 1 - side) // 2).tolist()
    return min(max(0, top), height - side), min(max(0, left), width - side), side


def dice(prediction: np.ndarray, target: np.ndarray) -> float:
    """Of one slice; NaN where both masks are empty."""
    whole = prediction.sum() + target.sum()
    return float(2 * (prediction & target).sum() / whole) if whole else float("nan")


def by_case(
    figure: Figure,
    modality: str,
    names: Sequence[str],
    chosen: Mapping[str, float],
    fill: Callable[[Sequence[Axes], str], None],
) -> None:
    """A line of tiles for each chosen case, case → quantile, that `fill` fills: the slice, then a tile for each row."""
    axes = figure.subplots(len(chosen), 1 + len(names), squeeze=False)
    axes[0, 0].set_title(modality, fontsize=6)
    for ax, name in zip(axes[0, 1:], names, strict=True):
        ax.set_title(wrapped(name), fontsize=6)
    for line, (case, quantile) in zip(axes, chosen.items(), strict=True):
        fill(line, case)
        line[0].set_ylabel(f"{100 * quantile:.0f} %", fontsize=6.5)


def show(ax: Axes, picture: np.ndarray, **options: object) -> None:
    """A picture without axes, its pixels as they are."""
    ax.imshow(picture, interpolation="nearest", **options)  # type: ignore[arg-type]
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[:].set_visible(False)


def whole(ax: Axes, view: View, box: tuple[int, int, int] | None = None) -> None:
    """The slice with its target's outline, and the square that other tiles show."""
    show(ax, view.shown(view.image), cmap="gray", vmin=0, vmax=255)
    if view.target.any():
        ax.contour(view.shown(view.target), levels=[0.5], colors=[YELLOW], linewidths=0.6)
    if box is not None:
        top, left, side = box
        ax.add_patch(Rectangle((left - 0.5, top - 0.5), side, side, fill=False, edgecolor="white", linewidth=0.5))


def wrapped(label: str) -> str:
    """A row's name over several short lines."""
    return "\n".join(label.split(" "))
