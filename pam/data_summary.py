"""A prepared data set in numbers: its cases, the sides of its splits, spacings and intensities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pam.data import split_choice
from pam.data.folds import Split, splits_hash
from pam.data.store import Store
from pam.data.view import view_slice
from pam.datasets import DATASETS
from pam.errors import DataError

FOLDS = 5
SAMPLE = 200  # slices, evenly spaced, that intensities are taken from
BINS = 100  # of the intensities' histograms
TAIL = 0.1  # per cent of the values that lie beyond them on either side
SIDES = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class Division:
    """One choice of split. `sides`: a row per split and side; empty, with the reason in `words`, where it cannot be."""

    choice: str
    own: bool  # whether it is the data set's own way
    words: str
    hash: str
    hashes: tuple[str, ...]  # of the single splits
    sides: pd.DataFrame


@dataclass(frozen=True, kw_only=True)
class Intensity:
    """A modality's normalised values, over `SAMPLE` slices: histograms (densities) over edges, and in numbers."""

    modality: str
    edges: np.ndarray  # in standard deviations, the same for all modalities
    brain: np.ndarray
    target: np.ndarray
    numbers: dict[str, float]


def cases_of(store: Store) -> pd.DataFrame:
    """One row per case, those with the smallest share of target among its non-zero pixels first, then the empty ones.

    Columns: case, patient, slices, with_target, target, brain (pixels), share, volume_ml (NaN without spacing), row (of
    the store, of the slice that `pam.data.view` shows).
    """
    rows = []
    index = store.index
    for case in store.cases:
        of_case = index.loc[store.rows(case)]
        target, brain = of_case.target_pixels.to_numpy(), of_case.brain_pixels.to_numpy()
        voxel = math.prod(float(of_case[f"spacing_{axis}"].iloc[0]) for axis in "dhw")
        rows.append(
            {
                "case": case,
                "patient": of_case.patient.iloc[0],
                "slices": len(of_case),
                "with_target": int((target > 0).sum()),
                "target": int(target.sum()),
                "brain": int(brain.sum()),
                "share": target.sum() / max(1, brain.sum()),
                "volume_ml": target.sum() * voxel / 1000,
                "row": int(of_case.index[view_slice(target, brain)]),
            }
        )
    cases = pd.DataFrame(rows)
    return cases.assign(empty=cases.target == 0).sort_values(["empty", "share", "case"], ignore_index=True)


def divisions(store: Store, cases: pd.DataFrame, chosen: str | None = None) -> list[Division]:
    """The store by its own way of splitting and by each other that it can be split by; or by the one `chosen`.

    Raises `PamError` only for a choice that was asked for.
    """
    if chosen is not None:
        return [_division(store, cases, chosen, own=False)]
    own = DATASETS.build(store.dataset).split
    choices = dict.fromkeys([own, "folds", "stratified", "ratio"])
    found = []
    for choice in choices:
        try:
            found.append(_division(store, cases, choice, own=choice == own))
        except DataError as error:
            found.append(
                Division(choice=choice, own=choice == own, words=str(error), hash="", hashes=(), sides=pd.DataFrame())
            )
    return found


def _division(store: Store, cases: pd.DataFrame, choice: str, *, own: bool) -> Division:
    splits = split_choice.splits_of(store, choice, FOLDS)
    words = split_choice.describe(choice, splits)["words"]
    hashes = tuple(split.hash for split in splits)
    sides = pd.DataFrame([row for number, split in enumerate(splits) for row in _sides(number, split, cases)])
    return Division(choice=choice, own=own, words=words, hash=splits_hash(splits), hashes=hashes, sides=sides)


def _sides(number: int, split: Split, cases: pd.DataFrame) -> list[dict[str, object]]:
    rows = []
    for side in SIDES:
        patients = getattr(split, side)
        found = cases[cases.patient.isin(patients)]
        if patients:
            totals = found.groupby("patient").target.sum()
            rows.append(
                {
                    "split": number,
                    "side": side,
                    "patients": len(patients),
                    "cases": len(found),
                    "slices": int(found.slices.sum()),
                    "with_target": int(found.with_target.sum()),
                    "median_target": float(totals.median()),
                    "without_target": int((totals == 0).sum()),
                }
            )
    return rows


def spacings(store: Store) -> pd.DataFrame:
    """Columns spacing (mm, d × h × w, in words) and cases, the commonest first."""
    first = store.index.groupby("case", sort=False)[["spacing_d", "spacing_h", "spacing_w"]].first()
    words = [" × ".join(f"{mm:.3g}" for mm in row) + " mm" if row.all() else "" for row in first.to_numpy()]
    words = ["not told by the source" if "nan" in word else word for word in words]
    return pd.Series(words, name="spacing").value_counts().rename("cases").reset_index()


def intensities(store: Store) -> list[Intensity]:
    """Of each modality, over evenly spaced slices that hold something, and evenly spaced ones with target."""
    index = store.index
    brain = _spaced(np.flatnonzero(index.brain_pixels > 0))
    target = _spaced(np.flatnonzero(index.target_pixels > 0))
    some, those = np.array(store.images[brain]), np.array(store.images[target])
    inside, marked = (some != 0).any(1), np.array(store.masks[target]) > 0
    values = [
        (some[:, channel][inside].astype(np.float64), those[:, channel][marked].astype(np.float64))
        for channel in range(len(store.modalities))
    ]
    ends = [np.percentile(part, (TAIL, 100 - TAIL)) for pair in values for part in pair if len(part)]
    low, high = (min(end[0] for end in ends), max(end[1] for end in ends)) if ends else (-1.0, 1.0)
    edges = np.linspace(low, high, BINS + 1)
    return [_intensity(name, edges, *pair) for name, pair in zip(store.modalities, values, strict=True)]


def _intensity(name: str, edges: np.ndarray, brain: np.ndarray, target: np.ndarray) -> Intensity:
    low, high = np.percentile(brain, (0.5, 99.5)) if len(brain) else (math.nan, math.nan)
    return Intensity(
        modality=name,
        edges=edges,
        brain=_density(brain, edges),
        target=_density(target, edges),
        numbers={
            "mean": float(brain.mean()) if len(brain) else math.nan,
            "deviation": float(brain.std()) if len(brain) else math.nan,
            "low": float(low),
            "high": float(high),
            "target_mean": float(target.mean()) if len(target) else math.nan,
        },
    )


def _density(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Share of the values per unit; zero of nothing."""
    counts, _ = np.histogram(values, edges)
    return np.asarray(counts / max(1, len(values)) / np.diff(edges))


def _spaced(rows: np.ndarray) -> np.ndarray:
    if len(rows) <= SAMPLE:
        return rows
    return np.asarray(rows[np.linspace(0, len(rows) - 1, SAMPLE).round().astype(int)])


def without_target(cases: pd.DataFrame) -> Sequence[str]:
    return [str(case) for case in cases.case[cases.target == 0]]
