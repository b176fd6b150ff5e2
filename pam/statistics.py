"""Is a difference real? Pure functions on arrays; each names the hypothesis that it tests.

Patients are drawn from a population, and each training is drawn, too: all patients of a test fold share the luck of
the network that scored them. Methods that count patients alone (t, bootstraps, Wilcoxon's signed-rank test) take that
luck for an effect: `tests/benchmarks/intervals.py` measures how often they claim what is not there. No verdict rests on
them; Wilcoxon's p is shown beside the others because readers expect it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]

LEVEL = 0.95
POWER = 0.80


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A standard error of a mean, and the degrees of freedom of its t distribution."""

    error: float
    freedom: int

    def half_width(self, level: float = LEVEL) -> float:
        return float(stats.t.ppf((1 + level) / 2, self.freedom)) * self.error

    def tail(self, distance: float) -> float:
        """Probability of an estimate more than `distance` above the truth."""
        if self.error == 0:
            return 0.5 if distance == 0 else float(distance < 0)
        return float(stats.t.sf(distance / self.error, self.freedom))


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over `patients` in `folds` test folds, of paired differences or of one row's scores, with two spreads."""

    mean: float
    by_patient: Spread
    by_fold: Spread
    patients: int
    folds: int

    @property
    def spread(self) -> Spread:
        """The one with the wider 95 % interval."""
        return max(self.by_patient, self.by_fold, key=Spread.half_width)

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """The wider of the t intervals over patients and over folds."""
        half = max(spread.half_width(level) for spread in (self.by_patient, self.by_fold))
        return self.mean - half, self.mean + half

    @property
    def p(self) -> float:
        """Two-sided p of the hypothesis that the mean is zero over patients and trainings."""
        return min(1.0, 2 * max(spread.tail(abs(self.mean)) for spread in (self.by_patient, self.by_fold)))

    @property
    def false_outperformance(self) -> float:
        """Probability that the true mean difference has not the sign of the one seen, under a flat prior."""
        return self.p / 2

    @property
    def detectable(self) -> float:
        """The smallest true difference that a study of this size finds in 80 % of its repetitions, about."""
        spread = self.spread
        return spread.half_width() + float(stats.t.ppf(POWER, spread.freedom)) * spread.error


def estimate(values: ArrayLike, folds: ArrayLike) -> Estimate:
    """Mean of `values`, each patient's seeds averaged; `values` and their test `folds`, both (patients).

    Hypothesis: the mean is zero over patients and trainings, whatever the shape of its distribution; values are
    paired differences, or one row's scores where only the interval is of use.
    By patient: the t interval. By fold: between-fold mean square of a one-way analysis of variance over n, with one
    degree of freedom less than folds; it holds the trainings' luck. Raises `ValueError` for fewer than two folds or
    three patients, or for NaN.
    """
    numbers, names = np.asarray(values, dtype=np.float64), np.asarray(folds)
    if numbers.shape != names.shape or numbers.ndim != 1:
        raise ValueError(f"values have shape {numbers.shape}, folds {names.shape}; expected (patients) both")
    if np.isnan(numbers).any():
        raise ValueError(f"{np.isnan(numbers).sum()} values are NaN; leave those patients out, and count them")
    n, k = len(numbers), len(np.unique(names))
    if k < 2 or n < 3:
        raise ValueError(f"{n} patients in {k} test folds; an interval needs at least 3 in 2")
    by_patient, by_fold = _covariances(numbers, numbers, names)
    return Estimate(
        mean=mean_of(numbers),
        by_patient=Spread(error=math.sqrt(by_patient), freedom=n - 1),
        by_fold=Spread(error=math.sqrt(by_fold), freedom=k - 1),
        patients=n,
        folds=k,
    )


def _covariances(values: Floats, others: Floats, folds: NDArray[np.generic]) -> tuple[float, float]:
    """Covariance of two means over the same patients: by patient, and by fold."""
    _, where, sizes = np.unique(folds, return_inverse=True, return_counts=True)
    n, k = len(values), len(sizes)
    apart, other = values - mean_of(values), others - mean_of(others)
    sums, other_sums = np.bincount(where, weights=apart), np.bincount(where, weights=other)
    by_patient = math.fsum((apart * other).tolist()) / (n - 1) / n
    return by_patient, math.fsum((sums * other_sums / sizes).tolist()) / (k - 1) / n


def mean_of(values: Floats) -> float:
    """The mean of an exact sum: the same to the last bit on every machine."""
    return math.fsum(values.tolist()) / len(values)


@dataclass(frozen=True, kw_only=True)
class Relative:
    """How much one mean lies above another, in proportion to the other: −0.1 is ten per cent less.

    The 95 % interval is infinite where the other mean cannot be told from zero.
    """

    change: float
    low: float
    high: float


def relative_change(values: ArrayLike, others: ArrayLike, folds: ArrayLike) -> Relative:
    """Change from the mean of `others` to that of `values`, both (patients), paired; folds as for `estimate`.

    The interval holds every change c that `estimate` of values − (1 + c) · others does not reject, so it covers zero
    exactly where the interval of the plain difference does. Source: Fieller (1954), with the wider of two spreads.
    """
    x, y, names = np.asarray(values, np.float64), np.asarray(others, np.float64), np.asarray(folds)
    found, base = estimate(x, names), estimate(y, names)  # they check the input, too
    if base.mean == 0:
        return Relative(change=math.nan, low=-math.inf, high=math.inf)
    low = high = found.mean / base.mean - 1
    spreads = zip(
        (found.by_patient, found.by_fold), _covariances(x, y, names), (base.by_patient, base.by_fold), strict=True
    )
    for spread, covariance, other in spreads:
        t = float(stats.t.ppf((1 + LEVEL) / 2, spread.freedom))
        a = base.mean**2 - (t * other.error) ** 2
        if a <= 0:
            return Relative(change=found.mean / base.mean - 1, low=-math.inf, high=math.inf)
        b = found.mean * base.mean - t**2 * covariance
        c = found.mean**2 - (t * spread.error) ** 2
        root = math.sqrt(max(0.0, b * b - a * c))
        low, high = min(low, (b - root) / a - 1), max(high, (b + root) / a - 1)
    return Relative(change=found.mean / base.mean - 1, low=low, high=high)


def wilcoxon(paired: ArrayLike) -> float:
    """Two-sided p of Wilcoxon's signed-rank test on paired differences (patients); for comparison alone.

    Hypothesis: the differences are symmetric about zero. It is no test of the mean: skewed differences of zero mean are
    rejected far too often, and it counts patients as independent though they share networks, see docs/statistics.md.
    """
    values = np.asarray(paired, dtype=np.float64)
    return float(stats.wilcoxon(values).pvalue) if np.any(values != 0) else 1.0


def nadeau_bengio(fold_means: ArrayLike, test_to_train: float) -> tuple[Spread, float]:
    """Spread and two-sided p of the mean of fold-wise differences (folds), for training sets that overlap.

    Hypothesis: the expected difference is zero over training sets of this size. The variance is multiplied by
    1 + folds × test_to_train. Source: Nadeau and Bengio (2003), corrected resampled t test. Conservative here.
    """
    means = np.asarray(fold_means, dtype=np.float64)
    if means.ndim != 1 or len(means) < 2:
        raise ValueError(f"fold means have shape {means.shape}; expected at least two")
    error = math.sqrt(float(means.var(ddof=1)) * (1 / len(means) + test_to_train))
    spread = Spread(error=error, freedom=len(means) - 1)
    return spread, min(1.0, 2 * spread.tail(abs(float(means.mean()))))


def equivalence(found: Estimate, margin: float) -> float:
    """p of equivalence; below 5 % exactly where the whole 95 % interval lies within ± margin.

    Hypothesis: the mean difference is at least `margin` away from zero. Source: Schuirmann (1987), two one-sided tests.
    Differs: twice their p, which the usual 90 % interval answers to: that one claims too much of skewed differences.
    """
    _check_margin(margin)
    room = margin - abs(found.mean)
    return min(1.0, 2 * max(spread.tail(room) for spread in (found.by_patient, found.by_fold)))


def beyond(found: Estimate, fold_means: ArrayLike, margin: float) -> float:
    """p that the mean difference lies beyond ± margin: the opposite of `equivalence`.

    Hypothesis: the mean difference is within `margin` of zero. The largest of three p, those of `found` and Nadeau and
    Bengio's, as for two-sided tests: skewed differences err to one side, and without the third too often.
    """
    _check_margin(margin)
    means = np.asarray(fold_means, dtype=np.float64)
    overlap, _ = nadeau_bengio(means, 1 / (len(means) - 1))
    tails = [spread.tail(abs(found.mean) - margin) for spread in (found.by_patient, found.by_fold)]
    return min(1.0, 2 * max(*tails, overlap.tail(abs(mean_of(means)) - margin)))


def _check_margin(margin: float) -> None:
    if margin <= 0:
        raise ValueError(f"margin {margin}; expected a number above 0, in the score's unit")


def trend(fold_means: ArrayLike) -> float:
    """p of Page's test on scores (folds, levels of a factor), the levels in the order expected to increase.

    Hypothesis: within a fold, every order of the levels is equally likely; against it stands an increasing one. Exact.
    Source: Page (1963). Folds are the blocks because patients of one fold share their networks.
    """
    means = np.asarray(fold_means, dtype=np.float64)
    if means.ndim != 2 or means.shape[0] < 2 or means.shape[1] < 3:
        raise ValueError(f"fold means have shape {means.shape}; expected at least 2 folds and 3 levels")
    return float(stats.page_trend_test(means, method="exact").pvalue)


def holm(values: Sequence[float]) -> list[float]:
    """p values of one family, adjusted so that any false claim at all has at most the level's chance.

    Source: Holm (1979). Any dependence between the tests is allowed.
    """
    order = np.argsort(values, kind="stable")
    scaled = np.asarray(values, dtype=np.float64)[order] * np.arange(len(values), 0, -1)
    adjusted = np.empty(len(values))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return [float(p) for p in adjusted]


def seed_noise(scores: ArrayLike) -> float:
    """SD of the difference of two trainings that differ in their seed alone (A/A): scores (seeds, patients) of one row.

    NaN for a single seed. Differences of two rows below about twice this are what one training of each shows by luck.
    """
    means = np.asarray(scores, dtype=np.float64).mean(axis=1)
    return math.sqrt(2) * float(means.std(ddof=1)) if len(means) > 1 else math.nan


def seeds_needed(paired: ArrayLike, found: Estimate, room: float) -> int | None:
    """Seeds with which `found` would tell a distance of `room` from zero; None if no number of seeds would do.

    paired: (seeds, patients), whose mean over seeds gave `found`. The variance between seeds is estimated from their
    means and shrinks with their number; what is left is the patients' and stays. Needs two seeds and room, else None.
    """
    means = np.asarray(paired, dtype=np.float64).mean(axis=1)
    if len(means) < 2 or room <= 0:
        return None
    spread = found.spread
    bound = (room * spread.error / found.detectable) ** 2 if found.detectable else math.inf
    by_seed = float(means.var(ddof=1))
    fixed = max(0.0, spread.error**2 - by_seed / len(means))
    return max(1, math.ceil(by_seed / (bound - fixed))) if bound > fixed else None


def rank_stability(scores: ArrayLike, generator: np.random.Generator, draws: int = 1000) -> Floats:
    """Share of draws in which each row has each rank, (rows, ranks); rank 0 is the highest mean.

    It describes and claims nothing. scores: (rows, seeds, patients), paired. Each draw resamples patients and seeds,
    the same for all rows; of ties, the first row is ahead.
    """
    values = np.asarray(scores, dtype=np.float64)
    rows, seeds, patients = values.shape
    by_seed = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=draws) / seeds
    by_patient = generator.multinomial(patients, np.full(patients, 1 / patients), size=draws) / patients
    means = np.einsum("rsp,ds,dp->dr", values, by_seed, by_patient, optimize=True)
    ranks = np.argsort(np.argsort(-means, axis=1, kind="stable"), axis=1)
    return np.stack([np.mean(ranks == rank, axis=0) for rank in range(rows)], axis=1)
