"""How often each interval covers the truth, and each test claims what is not there, by simulation.

    python tests/benchmarks/intervals.py [--draws 4000] [--out docs/statistics.md]

A study of 5 folds is drawn many times: skewed differences between patients, noise of each training on each patient,
and a network's luck that all patients of its test fold share. In "A/A" both rows are the same method, so differences
are symmetric; in "skewed" their mean is zero but they are not. Exits 1 if a method that `pam.statistics` offers fails.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from pam import statistics

Floats = NDArray[np.float64]

FOLDS = 5
PATIENTS, SEEDS, LUCK = (20, 42, 94, 210), (1, 3, 5), (0.0, 0.1, 0.3)
MARGIN = 0.25  # of equivalence; all in units of the patients' SD
TRAINING_NOISE = 0.5  # of one training on one patient
OFFERED = {"wider of both": 0.93, "Nadeau–Bengio": 0.93, "relative change": 0.93}  # coverage that each must keep
CHANGE = -0.2  # the true relative change
PARTS = ("patient t", "fold t")
REFUSED = ("percentile bootstrap", "BCa bootstrap", "bootstrap t", "Wilcoxon")
CLAIMS = ("equivalent", "not equivalent", "usual TOST")
BOOTSTRAPS = 1000
HEAD = """# Which intervals and tests hold

Made by `python tests/benchmarks/intervals.py`; {draws} draws per regime, so a share near 5 % is known to
± {error:.1f} points (95 %). 5 folds; patients' differences have SD 1, a training's noise on one patient 0.5, and
"luck" is the SD of what all patients of one test fold share because one network scored them. Coverage: share of 95 %
intervals that hold the true difference. Claims: share of tests at 5 % that reject a true null hypothesis (A/A: 100 % −
coverage; equivalence: the true difference is {margin}, the margin, and "equivalent" says that it is less, "not
equivalent" that it is more). Wilcoxon: share of tests that do not reject.

`pam.statistics` offers **wider of both** (`estimate`: the wider of the t intervals over patients and over folds),
Nadeau–Bengio (`nadeau_bengio`, conservative), the **relative change** (`relative_change`: Fieller's interval with both
spreads), `equivalence`, `beyond` and `trend`. No interval and no verdict rests on the bootstraps and Wilcoxon's test:
they count patients as independent though they share networks, and Wilcoxon tests symmetry, not the mean. A report shows
Wilcoxon's p beside the others because readers expect it. Where a protocol asks for a bootstrap over patients, reports
give the wider of both: at 210 patients, one seed and a luck of 0.3 the bootstrap's 95 % interval covers two times in
three.

Equivalence is claimed where the whole 95 % interval (wider of both) lies within the margin, and denied where both it
and Nadeau and Bengio's lie beyond. The usual two one-sided tests at 5 % ("usual TOST", a 90 % interval within the
margin) are not offered: they claim too much of skewed differences. Trend claims ask for both Page's test and the
interval of the slope. The benchmark fails if in any regime an offered claim is wrong in more than 5 % of studies, or
an interval covers less than 93 %, in A/A less than 95 %, chance aside.
"""


@dataclass(frozen=True, kw_only=True)
class Regime:
    kind: str  # "A/A" or "skewed"
    patients: int
    seeds: int
    luck: float

    @property
    def folds(self) -> NDArray[np.intp]:
        return np.arange(self.patients) % FOLDS

    def draw(self, draws: int, generator: np.random.Generator) -> Floats:
        """Differences of zero mean, each patient's seeds averaged: (draws, patients)."""
        size = (draws, self.patients)
        gamma = generator.gamma(0.5, size=size)  # skewness 2.8
        between = gamma - generator.gamma(0.5, size=size) if self.kind == "A/A" else 0.5 - gamma
        between /= 1.0 if self.kind == "A/A" else np.sqrt(0.5)
        noise = generator.normal(size=size) * TRAINING_NOISE / np.sqrt(self.seeds)
        luck = generator.normal(size=(draws, FOLDS)) * self.luck / np.sqrt(self.seeds)
        return between + noise + luck[:, self.folds]


def widths(values: Floats, folds: NDArray[np.intp], level: float = 0.95) -> dict[str, Floats]:
    """Half widths of the t intervals (draws), as `statistics.estimate` and `nadeau_bengio` have them."""
    n, quantile = values.shape[1], (1 + level) / 2
    means = np.stack([values[:, folds == fold].mean(axis=1) for fold in range(FOLDS)], axis=1)
    sizes = np.bincount(folds)
    between = (sizes * (means - values.mean(axis=1, keepdims=True)) ** 2).sum(axis=1) / (FOLDS - 1)
    patient = values.std(axis=1, ddof=1) / np.sqrt(n) * stats.t.ppf(quantile, n - 1)
    fold = np.sqrt(between / n) * stats.t.ppf(quantile, FOLDS - 1)
    overlap = np.sqrt(means.var(axis=1, ddof=1) * (1 / FOLDS + 1 / (FOLDS - 1))) * stats.t.ppf(quantile, FOLDS - 1)
    return {"wider of both": np.maximum(patient, fold), "Nadeau–Bengio": overlap, "patient t": patient, "fold t": fold}


def check_against_module(values: Floats, folds: NDArray[np.intp]) -> None:
    """What is simulated is what is offered."""
    simulated = widths(values[:3], folds)
    for i in range(3):
        low, high = statistics.estimate(values[i], folds).interval()
        assert np.isclose((high - low) / 2, simulated["wider of both"][i])
        means = [values[i, folds == fold].mean() for fold in range(FOLDS)]
        spread, _ = statistics.nadeau_bengio(means, 1 / (FOLDS - 1))
        assert np.isclose(spread.half_width(), simulated["Nadeau–Bengio"][i])
        found, half = statistics.estimate(values[i], folds), simulated["wider of both"][i]
        for margin in (0.01, 0.1, 0.5):
            overlap = max(half, simulated["Nadeau–Bengio"][i])
            assert (statistics.equivalence(found, margin) < 0.05) == (abs(found.mean) + half < margin)
            assert (statistics.beyond(found, means, margin) < 0.05) == (abs(found.mean) - overlap > margin)


def bootstraps(values: Floats, generator: np.random.Generator) -> Iterator[tuple[str, float]]:
    """Coverage of zero by the bootstraps over patients; one set of resamples serves all draws."""
    n, mean = values.shape[1], values.mean(axis=1)
    weights = generator.multinomial(n, np.full(n, 1 / n), size=BOOTSTRAPS) / n
    means = values @ weights.T
    low, high = np.quantile(means, [0.025, 0.975], axis=1)
    yield "percentile bootstrap", float(np.mean((low <= 0) & (high >= 0)))
    centred = values - mean[:, None]
    speed = (centred**3).sum(axis=1) / (6 * (centred**2).sum(axis=1) ** 1.5)
    bias = stats.norm.ppf(np.clip(np.mean(means < mean[:, None], axis=1), 1e-3, 1 - 1e-3))
    below = np.mean(means < 0, axis=1)  # zero is inside while its place lies between the two corrected levels
    places = [bias + (bias + z) / (1 - speed * (bias + z)) for z in stats.norm.ppf([0.025, 0.975])]
    inside = (below >= stats.norm.cdf(places[0])) & (below <= stats.norm.cdf(places[1]))
    yield "BCa bootstrap", float(np.mean(inside))
    spread = np.sqrt(np.maximum((values**2) @ weights.T - means**2, 1e-12) / (n - 1))
    low, high = np.quantile((means - mean[:, None]) / spread, [0.025, 0.975], axis=1)
    error = values.std(axis=1, ddof=1) / np.sqrt(n)
    yield "bootstrap t", float(np.mean((mean - high * error <= 0) & (mean - low * error >= 0)))


def measure(regime: Regime, draws: int, generator: np.random.Generator) -> dict[str, float]:
    """Coverage by method, and the false claims of equivalence at its margin."""
    values, folds = regime.draw(draws, generator), regime.folds
    check_against_module(values, folds)
    mean = values.mean(axis=1)
    found = {name: float(np.mean(np.abs(mean) <= half)) for name, half in widths(values, folds).items()}
    found |= dict(bootstraps(values, generator))
    found["Wilcoxon"] = float(np.mean(stats.wilcoxon(values[: draws // 2], axis=1).pvalue >= 0.05))
    at_margin = (mean + MARGIN, mean - MARGIN)  # so the rows are not equivalent; skewness makes the sides differ
    usual, whole = (widths(values, folds, level)["wider of both"] for level in (0.90, 0.95))
    overlap = np.maximum(whole, widths(values, folds)["Nadeau–Bengio"])
    found["equivalent"] = max(float(np.mean(np.abs(shifted) + whole < MARGIN)) for shifted in at_margin)
    found["not equivalent"] = max(float(np.mean(np.abs(shifted) - overlap > MARGIN)) for shifted in at_margin)
    found["usual TOST"] = max(float(np.mean(np.abs(shifted) + usual < MARGIN)) for shifted in at_margin)
    found["relative change"] = relative_coverage(regime, values, generator)
    return found


def relative_coverage(regime: Regime, differences: Floats, generator: np.random.Generator) -> float:
    """Coverage of a change of −20 % by Fieller's interval; the other row's scores have mean 2 and are skewed."""
    others = 2 + (generator.gamma(0.5, size=differences.shape) - 0.5) / np.sqrt(0.5)
    intervals = [
        statistics.relative_change((1 + CHANGE) * y + d, y, regime.folds)
        for d, y in zip(differences, others, strict=True)
    ]
    return float(np.mean([found.low <= CHANGE <= found.high for found in intervals]))


def row_coverage(patients: int, draws: int, generator: np.random.Generator) -> float:
    """Coverage of one row's mean Dice: skewed to the left within 0 and 1, every tenth patient missed, luck of 0.03."""
    folds = np.arange(patients) % FOLDS
    dice = generator.beta(6, 1.5, size=(draws, patients)) * (generator.random((draws, patients)) >= 0.1)
    dice = dice + 0.03 * generator.normal(size=(draws, FOLDS))[:, folds]
    covered = np.abs(dice.mean(axis=1) - 0.9 * 6 / 7.5) <= widths(dice, folds)["wider of both"]
    return float(np.mean(covered))


def family_claims(regime: Regime, draws: int, generator: np.random.Generator) -> float:
    """Share of studies of five rows that differ in nothing, of which any claim "beats the reference" is decided."""
    scores = [regime.draw(draws, generator) for _ in range(6)]
    decided = 0
    for i in range(draws):
        p = [statistics.estimate(row[i] - scores[0][i], regime.folds).p for row in scores[1:]]
        decided += min(statistics.holm(p)) < 0.05
    return decided / draws


def slope_claims(levels: int, draws: int, generator: np.random.Generator) -> float:
    """Share of claims of a trend over levels without one: Page's test and the slope's interval must agree."""
    regime, wrong = Regime(kind="A/A", patients=42, seeds=1, luck=0.3), 0
    steps = np.arange(levels) - (levels - 1) / 2
    rows = np.stack([regime.draw(draws, generator) for _ in range(levels)])
    for i in range(draws):
        found = statistics.estimate(np.tensordot(steps, rows[:, i], axes=1), regime.folds)
        means = np.stack([[row[regime.folds == fold].mean() for row in rows[:, i]] for fold in range(FOLDS)])
        page = statistics.trend(np.sign(found.mean) * means)
        wrong += max(found.p, 2 * page) < 0.05
    return wrong / draws


def trend_claims(levels: int, draws: int, generator: np.random.Generator) -> float:
    """Share of Page's tests at 5 % that find a trend over the levels where there is none."""
    table = generator.normal(size=(min(draws, 1000), FOLDS, levels)) + generator.normal(size=(1, FOLDS, 1))
    return float(np.mean([statistics.trend(means) < 0.05 for means in table]))


def row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def failed_of(regime: Regime, found: dict[str, float], tolerance: float) -> list[str]:
    """Offered methods that miss their bound by more than chance: 93 % coverage, under A/A 95; 5 % claims."""
    bounds = OFFERED if regime.kind == "skewed" else dict.fromkeys(OFFERED, 0.95)
    failures = [f"{regime}: {name} covers {found[name]}" for name in bounds if found[name] < bounds[name] - tolerance]
    offered = CLAIMS[:2]
    failures += [f"{regime}: {name} claims {found[name]}" for name in offered if found[name] > 0.05 + tolerance]
    return failures


def report(draws: int) -> tuple[str, list[str]]:
    """The table as Markdown, and what failed."""
    generator = np.random.default_rng(20)
    names = (*OFFERED, *PARTS, *REFUSED)
    body = [
        row(["regime", "patients", "seeds", "luck", *names, *(f"{name}: claims" for name in CLAIMS)]),
        row(["---"] * (len(names) + 4 + len(CLAIMS))),
    ]
    worst: dict[str, float] = {}
    most: dict[tuple[str, str], float] = {}
    failures = []
    tolerance = 2.6 * np.sqrt(0.05 * 0.95 / draws)  # of chance among this many regimes
    for kind in ("A/A", "skewed"):
        for regime in (Regime(kind=kind, patients=n, seeds=s, luck=c) for n in PATIENTS for s in SEEDS for c in LUCK):
            found = measure(regime, draws, generator)
            cells = [kind, str(regime.patients), str(regime.seeds), f"{regime.luck:g}"]
            body.append(row([*cells, *(f"{100 * found[name]:.1f}" for name in (*names, *CLAIMS))]))
            worst = {name: min(found[name], worst.get(name, 1.0)) for name in names}
            most |= {(kind, name): max(found[name], most.get((kind, name), 0.0)) for name in CLAIMS}
            failures += failed_of(regime, found, tolerance)
    summary = [row(["worst regime", *names]), row(["---"] * (len(names) + 1))]
    summary.append(row(["coverage (%)", *(f"{100 * worst[name]:.1f}" for name in names)]))
    others, failed = further(draws, generator, tolerance)
    told = ", ".join(f"{name} {100 * share:.1f} % ({kind})" for (kind, name), share in most.items())
    others.append(f"- Claims at the margin in the worst regime: {told}.")
    head = HEAD.format(draws=draws, margin=MARGIN, error=196 * np.sqrt(0.05 * 0.95 / draws))
    return "\n".join([head, *summary, "", *others, "", *body]) + "\n", failures + failed


def further(draws: int, generator: np.random.Generator, tolerance: float) -> tuple[list[str], list[str]]:
    """Sentences on what is not an interval of a difference, and what failed of it."""
    fewer = min(draws, 1000)
    pages = {levels: trend_claims(levels, draws, generator) for levels in (3, 4)}
    slopes = {levels: slope_claims(levels, fewer, generator) for levels in (3, 4)}
    dice = {patients: row_coverage(patients, draws, generator) for patients in PATIENTS}
    families = {
        regime: family_claims(regime, fewer, generator)
        for regime in (
            Regime(kind="A/A", patients=42, seeds=3, luck=0.3),
            Regime(kind="A/A", patients=210, seeds=1, luck=0.3),
        )
    }
    lines = [
        f"- Page's trend test over {FOLDS} folds claims a trend that is not there in "
        + "; ".join(f"{100 * share:.1f} % at {levels} levels" for levels, share in pages.items())
        + "; with the slope's interval, as a claim asks for, in "
        + "; ".join(f"{100 * share:.1f} % at {levels}" for levels, share in slopes.items())
        + ".",
        "- One row's mean Dice (skewed, every tenth patient missed): 95 % intervals cover it in "
        + "; ".join(f"{100 * share:.1f} % at {patients} patients" for patients, share in dice.items())
        + ".",
        "- Any of five claims by Holm, of rows that do not differ, is decided in "
        + "; ".join(f"{100 * share:.1f} % ({r.patients} patients, luck {r.luck:g})" for r, share in families.items())
        + " of studies.",
    ]
    chance = tolerance * np.sqrt(draws / fewer)
    failures = [f"Page {k}: {v}" for k, v in pages.items() if v > 0.05 + chance]
    failures += [f"slope {k}: {v}" for k, v in slopes.items() if v > 0.05 + chance]
    failures += [f"Dice {k}: {v}" for k, v in dice.items() if v < 0.93 - tolerance]
    failures += [f"family {k}: {v}" for k, v in families.items() if v > 0.05 + chance]
    return lines, failures


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=4000)
    parser.add_argument("--out", type=Path, default=Path("docs/statistics.md"))
    arguments = parser.parse_args()
    text, failed = report(arguments.draws)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(text, encoding="utf-8")
    print(text)
    sys.exit("\n".join(failed) if failed else 0)
