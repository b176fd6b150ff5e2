"""The per-case explorer of an HTML report: for each row its worst cases first, as images with masks laid over."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from pam.report.evidence import Evidence

MOST = 48  # cases of a row, the worst: with 16 rows a page of a few MB
CLEAR, MISSED, FOUND, FALSE_ALARM = range(4)
PALETTE = (0, 0, 0, 0, 114, 178, 240, 228, 66, 232, 0, 11)  # as `pam.report.figures.tiles`: blue, yellow, red


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A case as a row sees it. number: its image's place in `Explorer.images`; dice: of the whole case."""

    label: int  # place in `Explorer.labels`
    case: str
    number: int
    dice: float
    overlay: str  # data URI

    @property
    def score(self) -> str:
        return "undefined" if math.isnan(self.dice) else f"{100 * self.dice:.1f} %"


@dataclass(frozen=True, kw_only=True)
class Explorer:
    """images: data URIs of the cases' slices, each once however many rows show it."""

    labels: tuple[str, ...]
    images: tuple[str, ...]
    tiles: tuple[Tile, ...]
    cases: int  # tested, of which each row shows its `MOST` worst
    side: float  # height over width of a slice


def explore(evidence: Evidence, order: Sequence[str]) -> Explorer | None:
    """The explorer, its rows in this order; None where there is nothing to show."""
    labels = tuple(label for label in order if label in evidence.labels)
    if not labels:
        return None
    places: dict[str, int] = {}
    tiles = []
    for number, label in enumerate(labels):
        worst = evidence.dice[label].sort_index().sort_values(kind="stable", na_position="last")
        shown = [(str(case), float(dice)) for case, dice in worst.items() if (label, case) in evidence.masks]
        for case, dice in shown[:MOST]:
            view = evidence.views[case]
            overlay = _overlay(view.shown(evidence.masks[label, case]), view.shown(view.target))
            place = places.setdefault(case, len(places))
            tiles.append(Tile(label=number, case=case, number=place, dice=dice, overlay=overlay))
    images = tuple(_grey(evidence.views[case].shown(evidence.views[case].image)) for case in places)
    height, width = next(iter(evidence.views.values())).target.shape
    return Explorer(labels=labels, images=images, tiles=tuple(tiles), cases=len(evidence.dice), side=height / width)


def uri(kind: str, content: bytes) -> str:
    """A data URI; kind: a MIME type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _overlay(prediction: np.ndarray, target: np.ndarray) -> str:
    """What is missed, found and falsely alarmed, in four colours of which one is clear: some hundred bytes."""
    kinds = np.select([target & ~prediction, target & prediction, prediction], [MISSED, FOUND, FALSE_ALARM], CLEAR)
    image = Image.fromarray(kinds.astype(np.uint8), mode="P")
    image.putpalette(PALETTE)
    return _png(image, transparency=CLEAR, bits=2)


def _grey(image: np.ndarray) -> str:
    return _png(Image.fromarray(np.ascontiguousarray(image)))


def _png(image: Image.Image, **options: int) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True, **options)
    return uri("image/png", buffer.getvalue())
