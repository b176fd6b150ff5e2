"""The figures of `docs/guides/statistics.md`: `python docs/figures/make.py` draws them, the same each time.

Simulated studies have 5 folds; patients' paired differences have SD 1, and `luck` is the SD of what all patients of a
test fold share because one network scored them.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pam import statistics
from pam.report.figures.style import COLOURS, METADATA, REFERENCE, STYLE

FOLDS, PATIENTS = 5, 60
BLUE, ORANGE, GREEN = COLOURS[:3]
DRAWS = 400


def differences(
    generator: np.random.Generator, *, luck: float, mean: float = 0.0, patients: int = PATIENTS
) -> np.ndarray:
    folds = np.arange(patients) % FOLDS
    return mean + generator.normal(size=patients) + luck * generator.normal(size=FOLDS)[folds]


def estimated(values: np.ndarray) -> statistics.Estimate:
    return statistics.estimate(values, np.arange(len(values)) % FOLDS)


def pairs(axes: Axes) -> None:
    """The same 20 patients by two networks: scores spread widely, differences do not."""
    generator = np.random.default_rng(3)
    reference = np.clip(generator.beta(4, 2, 20), 0.05, 0.95)
    row = np.clip(reference + 0.04 + 0.03 * generator.normal(size=20), 0, 1)
    for low, high in zip(reference, row, strict=True):
        axes.plot([0, 1], [low, high], color=REFERENCE, alpha=0.6, lw=0.7, marker="o", ms=2.5)
    axes.set_xticks([0, 1], ["reference", "row"])
    axes.set_ylabel("Dice of a patient")
    axes.set_xlim(-0.3, 2.6)
    found = estimated(row - reference)
    low, high = found.interval()
    axes.errorbar([2.1], [found.mean + 0.5], [[found.mean - low], [high - found.mean]], color=BLUE, fmt="D", capsize=3)
    axes.axhline(0.5, 0.72, 1, color=REFERENCE, ls=":", lw=0.8)
    axes.text(2.1, 0.45, f"mean difference\n{found.mean:+.3f}\n({low:+.3f} to {high:+.3f})", ha="center", va="top")


def luck(axes: Axes) -> None:
    """How often a 95 % interval holds the truth, by how much the patients of a fold share."""
    generator = np.random.default_rng(0)
    levels = [0, 0.1, 0.2, 0.3, 0.4]
    both, patients = [], []
    for level in levels:
        found = [estimated(differences(generator, luck=level)) for _ in range(DRAWS)]
        both.append(100 * np.mean([one.interval()[0] <= 0 <= one.interval()[1] for one in found]))
        patients.append(100 * np.mean([abs(one.mean) <= one.by_patient.half_width() for one in found]))
    axes.axhline(95, color=REFERENCE, ls=":", lw=0.8)
    axes.plot(levels, both, color=BLUE, marker="o", label="wider of both (pam)")
    axes.plot(levels, patients, color=ORANGE, marker="s", label="patients alone (usual t)")
    axes.set(
        xlabel="luck of one training, in SDs of a patient", ylabel="intervals that hold the truth (%)", ylim=(60, 101)
    )
    axes.legend(loc="lower left")


def interval(axes: Axes, found: statistics.Estimate, place: int, colour: str) -> None:
    low, high = found.interval()
    ends = [[found.mean - low], [high - found.mean]]
    axes.errorbar([found.mean], [-place], xerr=ends, color=colour, fmt="o", capsize=3)


def verdicts(axes: Axes) -> None:
    """What an interval says: three simulated claims."""
    generator = np.random.default_rng(5)
    told = (("supported", 0.8, GREEN), ("undecided", 0.1, REFERENCE), ("contradicted", -0.8, ORANGE))
    for place, (word, mean, colour) in enumerate(told):
        found = estimated(differences(generator, luck=0.1, mean=mean))
        low, high = found.interval()
        axes.errorbar(
            [found.mean], [-place], xerr=[[found.mean - low], [high - found.mean]], color=colour, fmt="o", capsize=3
        )
        axes.text(1.55, -place, word, va="center", color=colour)
    axes.axvline(0, color=REFERENCE, ls=":", lw=0.8)
    axes.set(xlabel="difference, in the direction of the claim", yticks=[], xlim=(-1.6, 2.6), ylim=(-2.6, 0.6))


def family(axes: Axes) -> None:
    """Claims about rows that do not differ: how often at least one of a study's is decided."""
    generator = np.random.default_rng(1)
    counts = [1, 2, 4, 8, 16]
    plain, adjusted = [], []
    for count in counts:
        wrong = np.zeros((DRAWS // 2, 2))
        for draw in range(len(wrong)):
            p = [estimated(differences(generator, luck=0.3, patients=210)).p for _ in range(count)]
            wrong[draw] = min(p) < 0.05, min(statistics.holm(p)) < 0.05
        plain.append(100 * wrong[:, 0].mean())
        adjusted.append(100 * wrong[:, 1].mean())
    axes.axhline(5, color=REFERENCE, ls=":", lw=0.8)
    axes.plot(counts, plain, color=ORANGE, marker="s", label="each at 5 %")
    axes.plot(counts, adjusted, color=BLUE, marker="o", label="Holm (pam)")
    axes.set(
        xlabel="claims of a study", ylabel="studies with a false claim (%)", xscale="log", xticks=counts, ylim=(0, None)
    )
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.legend(loc="upper left")


def equivalence(axes: Axes) -> None:
    """Not significant is not equal: the interval must lie within the margin."""
    generator = np.random.default_rng(11)
    margin = 0.5
    axes.axvspan(-margin, margin, color=BLUE, alpha=0.12, lw=0)
    for place, (patients, words) in enumerate(((200, "200 patients: equivalent"), (20, "20 patients: undecided"))):
        found = estimated(differences(generator, luck=0.05, patients=patients))
        low, high = found.interval()
        inside = -margin < low and high < margin
        colour = GREEN if inside else REFERENCE
        axes.errorbar(
            [found.mean], [-place], xerr=[[found.mean - low], [high - found.mean]], color=colour, fmt="o", capsize=3
        )
        axes.text(1.05, -place, words, va="center", color=colour)
        assert inside == ("equivalent" in words), "the figure's words are those of its draw"
    axes.axvline(0, color=REFERENCE, ls=":", lw=0.8)
    axes.set(xlabel="difference (shaded: the margin)", yticks=[], xlim=(-1.1, 3.2), ylim=(-1.6, 0.6))


def trend(axes: Axes) -> None:
    """A trend is one order in every fold: Page's test ranks the levels within each."""
    generator = np.random.default_rng(2)
    levels = np.array([6, 9, 12])
    means = (
        0.70
        + 0.012 * np.arange(3)
        + 0.02 * generator.normal(size=(FOLDS, 1))
        + 0.006 * generator.normal(size=(FOLDS, 3))
    )
    for fold in means:
        axes.plot(levels, fold, color=REFERENCE, alpha=0.6, lw=0.8, marker="o", ms=2.5)
    axes.plot(
        levels,
        means.mean(0),
        color=BLUE,
        marker="D",
        label=f"mean of 5 folds; Page's p = {statistics.trend(means):.3g}",
    )
    axes.set(xlabel="dilation", ylabel="IoU", xticks=levels)
    axes.legend(loc="lower right")


def main() -> None:
    for draw in (pairs, luck, verdicts, family, equivalence, trend):
        with mpl.rc_context(STYLE):
            figure = Figure(figsize=(4.2, 2.2), layout="constrained")
            draw(figure.add_subplot())
            figure.savefig(Path(__file__).parent / f"{draw.__name__}.svg", metadata=METADATA["svg"])


if __name__ == "__main__":
    main()
