"""A study's claims against its results: supported, contradicted or undecided; never supported while zero is covered.

Unit: the patient, by the protocol `patient`; each patient's seeds are averaged. A claim over several comparisons must
hold in each: the least favourable decides (intersection–union). p values are Holm's over the study's claims.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from pam import statistics
from pam.counts import counted
from pam.measures import Measure
from pam.report.levels import Settings, level, settings_of, span
from pam.report.paired import Paired, PatientScores
from pam.statements import AnyClaim, Claim, Equivalence, Levels, Trend
from pam.statistics import LEVEL, Estimate, Relative, holm, relative_change, seeds_needed
from pam.study import Study

SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A claim's outcome. `found`: the deciding effect in the score's unit, row minus `other`; None without an interval.

    measure: the claim's score, in the unit that the data has. p: adjusted; NaN without an interval. page: Page's
    one-sided p of a trend in the direction seen.
    left_out, untested: see `pam.report.paired.Paired`.
    """

    claim: AnyClaim
    measure: Measure
    outcome: str = UNDECIDED
    row: str = ""
    other: str = ""
    found: Estimate | None = None
    relative: Relative | None = None
    page: float = math.nan
    p: float = math.nan
    seeds: int = 0
    left_out: int = 0
    untested: int = 0
    older: int = 0  # cells whose entries do not tell the image's diagonal, which a missed patient's distance is
    advice: str = ""

    @property
    def gain(self) -> float:
        """The effect, positive where it speaks for the claim."""
        assert self.found is not None
        if isinstance(self.claim, Equivalence):
            return self.claim.margin - abs(self.found.mean)
        return self.found.mean if self.claim.more else -self.found.mean


def judge(study: Study, scores: PatientScores, older: int = 0) -> tuple[Verdict, ...]:
    """The verdict on each claim. scores: of the protocol `patient`; older: cells that lack the image's diagonal."""
    settings = settings_of(study)
    verdicts = [_least_favourable(claim, scores, settings) for claim in study.claims]
    if older:
        verdicts = [replace(v, older=older) if v.claim.score == "hd95" else v for v in verdicts]
    tested = [i for i, verdict in enumerate(verdicts) if not math.isnan(verdict.p)]
    for i, p in zip(tested, holm([verdicts[i].p for i in tested]), strict=True):
        verdicts[i] = _decided(replace(verdicts[i], p=p))
    return tuple(_with_premise(verdict, scores) for verdict in verdicts)


def against_reference(
    study: Study, scores: PatientScores, score: str = "dice", *, more: bool = True
) -> tuple[Verdict, ...]:
    """Each variant's difference to the reference in one score; p values are Holm's over the rows."""
    name = study.reference.name
    rows = [row.name for row in study.variants if row.name in scores.labels]
    compared = [Claim(id=row, text=f"{row} over {name}", row=row, over=(name,), score=score, more=more) for row in rows]
    return judge(replace(study, claims=tuple(compared)), scores)


def sentence(verdict: Verdict) -> str:
    """One line for a terminal."""
    advice = f" ({verdict.advice})" if verdict.advice else ""
    return f"{verdict.claim.id}: {verdict.claim.text}: {verdict.outcome.upper()}{advice}"


def _least_favourable(claim: AnyClaim, scores: PatientScores, settings: Settings) -> Verdict:
    """The comparison in which the claim is least sure; p not yet adjusted over the claims.

    Supported only if every comparison is, so the largest p needs no adjustment; contradicted if any is, so it does.
    """
    verdicts = list(_comparisons(claim, scores, settings))
    without = [verdict for verdict in verdicts if verdict.found is None]
    if without:
        return without[0]
    worst = min(verdicts, key=lambda verdict: (1 - verdict.p) * (1 if verdict.gain > 0 else -1))
    return replace(worst, p=min(1.0, worst.p * len(verdicts))) if worst.gain < 0 else worst


def _comparisons(claim: AnyClaim, scores: PatientScores, settings: Settings) -> Iterable[Verdict]:
    blank = Verdict(claim=claim, measure=scores.measure(claim.score))
    if isinstance(claim, Trend):
        row = span(claim.levels, settings, claim.beyond)
        yield _trend(claim, replace(blank, row=row, other="the level before"), scores)
        if claim.beyond:
            steps, others = _slope(claim.levels), _slope(claim.beyond)
            weights = {row: steps.get(row, 0.0) - others.get(row, 0.0) for row in {**steps, **others}}
            other = span(claim.beyond, settings, claim.levels)
            yield _comparison(replace(blank, row=f"slope of {row}", other=f"slope of {other}"), scores, weights)
        return
    if isinstance(claim, Equivalence):
        names = {rows: level(rows, claim.levels, settings) for rows in claim.levels}
        pairs = [(first, second, names[second], names[first]) for first, second in combinations(claim.levels, 2)]
    else:
        pairs = [((other,), (claim.row,), claim.row, other) for other in claim.over]
    for first, second, row, other in pairs:
        weights = dict.fromkeys(second, 1 / len(second)) | dict.fromkeys(first, -1 / len(first))
        yield _comparison(replace(blank, row=row, other=other), scores, weights)


def _comparison(blank: Verdict, scores: PatientScores, weights: Mapping[str, float]) -> Verdict:
    """The verdict with effect, p and advice filled in, as far as there is an interval."""
    claim, key = blank.claim, blank.measure.key
    if isinstance(claim, Equivalence) and key == "hd95_px":
        return replace(blank, advice="its margin is in mm, and the data set tells no spacing")
    paired = scores.contrast(weights, key)
    blank = replace(blank, seeds=paired.seeds, left_out=paired.left_out, untested=paired.untested)
    missing = [row for row in weights if row not in scores.labels]
    if missing:
        return replace(blank, advice=f"no cell of {missing[0]!r} is finished")
    try:
        found = paired.estimate()
    except ValueError as error:  # too few patients or folds
        return replace(blank, advice=str(error))
    verdict = replace(blank, found=found, p=found.p)
    if isinstance(claim, Equivalence):
        verdict = replace(verdict, p=_equivalence(found, paired, claim.margin))
    elif isinstance(claim, Claim) and claim.relative:
        row, other = scores.contrasts([{claim.row: 1.0}, {blank.other: 1.0}], key)
        verdict = replace(verdict, relative=relative_change(row.per_patient, other.per_patient, row.folds))
    return replace(verdict, advice=_advice(verdict, paired))


def _equivalence(found: Estimate, paired: Paired, margin: float) -> float:
    """p that the difference lies within ± margin, where the one seen does, else that it lies beyond."""
    if abs(found.mean) < margin:
        return statistics.equivalence(found, margin)
    return statistics.beyond(found, paired.fold_means, margin)


def _trend(claim: Trend, blank: Verdict, scores: PatientScores) -> Verdict:
    """The mean step between levels, which must differ from zero, as must Page's test of the levels' order."""
    verdict = _comparison(blank, scores, _slope(claim.levels))
    if verdict.found is None:
        return verdict
    averages = [dict.fromkeys(rows, 1 / len(rows)) for rows in claim.levels]
    levels = scores.contrasts(averages, blank.measure.key)
    means = np.stack([paired.fold_means for paired in levels], axis=1)
    page = statistics.trend(math.copysign(1.0, verdict.found.mean) * means)
    return replace(verdict, page=page, p=max(verdict.p, min(1.0, 2 * page)))


def _slope(levels: Levels) -> dict[str, float]:
    """Weights that give the least-squares step from one level to the next; a level's rows are averaged."""
    centred = np.arange(len(levels)) - (len(levels) - 1) / 2
    step = centred / np.sum(centred**2)
    return {row: float(weight) / len(rows) for weight, rows in zip(step, levels, strict=True) for row in rows}


def _advice(verdict: Verdict, paired: Paired) -> str:
    """What would decide, if the effect is as large as it seems; for undecided claims."""
    found = verdict.found
    assert found is not None
    room = abs(verdict.gain)
    if room == 0:
        return (
            "the difference seen is the margin" if isinstance(verdict.claim, Equivalence) else "no difference was seen"
        )
    patients = math.ceil(found.patients * (found.detectable / room) ** 2)
    seeds = seeds_needed(paired.complete, found, room)
    more = f" or {counted(seeds, 'seed')}" if seeds else "; more seeds alone would not do"
    if len(paired.complete) < 2:
        more = "; what more seeds would do is not known from one"
    return f"an effect as large as this one needs about {counted(patients, 'patient')}{more}"


def _decided(verdict: Verdict) -> Verdict:
    if verdict.p >= 1 - LEVEL:
        return verdict
    return replace(verdict, outcome=SUPPORTED if verdict.gain > 0 else CONTRADICTED, advice="")


def _with_premise(verdict: Verdict, scores: PatientScores) -> Verdict:
    """A claim about capacity is contradicted where its row is not the smaller network, whatever the scores are."""
    claim = verdict.claim
    if not isinstance(claim, Claim) or not claim.smaller:
        return verdict
    sizes = {row: scores.parameters(row) for row in claim.rows}
    told = ", ".join(f"{row} {size / 1e6:.2f} M" if size else f"{row} unknown" for row, size in sizes.items())
    if not all(sizes.values()):
        return replace(verdict, outcome=UNDECIDED, advice=f"parameters: {told}")
    premise = all(sizes[claim.row] <= sizes[other] for other in claim.over)
    advice = "; ".join(filter(None, [verdict.advice, f"parameters: {told}"]))
    return replace(verdict, outcome=verdict.outcome if premise else CONTRADICTED, advice=advice)
