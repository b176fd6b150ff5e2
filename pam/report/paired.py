"""Scores by row, seed and patient, and what is paired with what. The unit of statistics is the patient."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pam import ledger
from pam.measures import MEASURES, Measure
from pam.metrics import STATES
from pam.protocols import (
    CASE_COLUMNS,
    LATER_CASE_COLUMNS,
    LATER_SLICE_COLUMNS,
    PROTOCOLS,
    SLICE_COLUMNS,
    distance_in_pixels,
    patient_states,
    without_spacing,
)
from pam.statistics import Estimate, estimate

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Paired:
    """One number per seed and patient (seeds, patients), NaN where the seed did not test the patient.

    left_out: patients without a score in some seed that tested them (both masks empty, say). untested: those whom no
    seed has tested in all the rows concerned, because cells are missing.
    """

    values: Floats
    folds: NDArray[np.intp]
    left_out: int
    untested: int

    @property
    def per_patient(self) -> Floats:
        """Each patient's seeds averaged, (patients)."""
        return np.nanmean(self.values, axis=0) if self.values.size else np.empty(0)

    @property
    def seeds(self) -> int:
        """The most seeds that any patient has."""
        return int(np.max(np.sum(~np.isnan(self.values), axis=0), initial=0))

    @property
    def complete(self) -> Floats:
        """The seeds that have tested every patient."""
        return self.values[~np.isnan(self.values).any(axis=1)]

    @property
    def fold_means(self) -> Floats:
        """The mean over each test fold's patients, (folds)."""
        _, where, sizes = np.unique(self.folds, return_inverse=True, return_counts=True)
        return np.bincount(where, weights=self.per_patient) / sizes

    def estimate(self) -> Estimate:
        """Raises `ValueError` for too few patients or folds."""
        return estimate(self.per_patient, self.folds)


class PatientScores:
    """The scores of one protocol: an array (rows, seeds, patients) for each, NaN where undefined or not tested."""

    def __init__(
        self, scores: pd.DataFrame, states: pd.Series[str], cells: pd.DataFrame, measures: Sequence[Measure]
    ) -> None:
        """scores: what a protocol of `pam.protocols` returns; states: of `patient_states`; cells: the finished ones.

        measures: what the protocol may have; `measures` are those that these scores do.

        Raises `ValueError` if two cells of one row and seed have scored the same patient.
        """
        named = scores.reset_index().assign(cell_id=lambda frame: frame.cell_id.astype(str))
        joined = cells[["id", "label", "fold", "seed"]].merge(named, left_on="id", right_on="cell_id")
        twice = joined[joined.duplicated(["label", "seed", "patient"])]
        if len(twice):
            first = twice.iloc[0]
            raise ValueError(f"patient {first.patient!r} of {first.label!r}, seed {first.seed}, is in two test folds")
        label, labels = pd.factorize(joined.label, sort=True)
        seed, self.seeds = pd.factorize(joined.seed, sort=True)
        who, self.patients = pd.factorize(joined.patient.astype(str), sort=True)
        self.cells = cells
        self.measures = tuple(measure for measure in measures if measure.key in scores.columns)
        self._states = states
        self.labels = {str(name): place for place, name in enumerate(labels)}
        self.tested: NDArray[np.bool_] = np.zeros((len(self.labels), len(self.seeds), len(self.patients)), dtype=bool)
        self.tested[label, seed, who] = True
        self._scores: dict[str, Floats] = {}
        for name in scores.columns:
            self._scores[name] = np.full(self.tested.shape, math.nan)
            self._scores[name][label, seed, who] = joined[name]
        self.folds = np.zeros(len(self.patients), dtype=np.intp)
        self.folds[who] = joined.fold

    def measure(self, name: str) -> Measure:
        """The measure of this name, in the unit that the data has."""
        return next(measure for measure in self.measures if measure.name == name)

    def contrast(self, weights: Mapping[str, float], score: str) -> Paired:
        """The weighted sum of rows' scores, per seed and patient; {row: 1, other: −1} is a paired difference."""
        return self.contrasts([weights], score)[0]

    def contrasts(self, several: Sequence[Mapping[str, float]], score: str) -> list[Paired]:
        """Several weighted sums over the same seeds and patients: those that have the scores of all rows named."""
        rows = sorted(set().union(*several))
        if not all(row in self.labels for row in rows):  # a row without a finished cell
            nobody = np.empty((0, 0))
            return [Paired(values=nobody, folds=np.empty(0, np.intp), left_out=0, untested=len(self.patients))] * len(
                several
            )
        places = [self.labels[row] for row in rows]
        scores = self._scores[score][places]
        together: NDArray[np.bool_] = np.all(self.tested[places], axis=0)
        undefined = np.any(together & np.isnan(scores).any(axis=0), axis=0)
        untested = ~np.any(together, axis=0)
        kept = ~undefined & ~untested
        seeds = together[:, kept].any(axis=1)
        found = []
        for weights in several:
            sums = sum(
                (weights.get(row, 0.0) * of for row, of in zip(rows, scores[:, seeds][:, :, kept], strict=True)), 0.0
            )
            found.append(
                Paired(
                    values=np.where(together[seeds][:, kept], sums, math.nan),
                    folds=self.folds[kept],
                    left_out=int(undefined.sum()),
                    untested=int(untested.sum()),
                )
            )
        return found

    def patients_of(self, label: str) -> int:
        """How many patients the row's cells have tested."""
        return int(self.tested[self.labels[label]].any(axis=0).sum()) if label in self.labels else 0

    def states_of(self, label: str) -> dict[str, int]:
        """How often a seed found a patient in each state of `pam.metrics.STATES`."""
        ids = self.cells.id[self.cells.label == label]
        counts = self._states[self._states.index.get_level_values("cell_id").isin(ids)].value_counts()
        return {state: int(counts.get(state, 0)) for state in STATES}

    def parameters(self, label: str) -> int:
        """Of the row's network; 0 if its cells do not tell."""
        found = self.cells.parameters[self.cells.label == label].dropna()
        return int(found.max()) if len(found) else 0

    def complete(self, score: str, labels: Iterable[str]) -> Floats:
        """Scores (rows, seeds, patients): seeds that tested every patient, without patients undefined anywhere."""
        places = [self.labels[label] for label in labels]
        whole = self.tested[places].all(axis=(0, 2))
        values = self._scores[score][places][:, whole]
        return values[:, :, ~np.isnan(values).any(axis=(0, 1))]


def read(cells: pd.DataFrame) -> tuple[dict[str, PatientScores], frozenset[str]]:
    """The finished cells' scores by protocol, and the cells whose entries do not tell the image's diagonal."""
    finished = cells[cells.finished]
    ids = sorted(set(finished.id))
    cases = ledger.read_many(ids, "cases", CASE_COLUMNS, later=LATER_CASE_COLUMNS)
    scores = {name: scored(cases) for name, scored in PROTOCOLS.items()}
    lacking = ledger.lacking(ids, "cases", LATER_CASE_COLUMNS)
    if without_spacing(cases):
        slices = ledger.read_many(ids, "slices", SLICE_COLUMNS, later=LATER_SLICE_COLUMNS)
        scores = {name: found.drop(columns="hd95_mm") for name, found in scores.items()}
        scores["patient"] = scores["patient"].join(distance_in_pixels(slices).rename("hd95_px"))
        lacking = ledger.lacking(ids, "slices", LATER_SLICE_COLUMNS)
    states = patient_states(cases)
    known = {name: PatientScores(found, states, finished, MEASURES[name]) for name, found in scores.items()}
    return known, frozenset(itertools.chain.from_iterable(lacking.values()))
