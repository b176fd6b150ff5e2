"""A study's claims against its results: supported, contradicted or undecided; never supported while zero is covered.

Unit: the patient, by the protocol `patient`; each patient's seeds are averaged. A claim over several rows must hold
against each: the least favourable comparison decides (intersection–union). p values are Holm's over the study's claims.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pam import ledger
from pam.protocols import CASE_COLUMNS, LATER_CASE_COLUMNS, by_seed_and_patient, patient
from pam.statistics import LEVEL, Difference, difference, holm, seeds_needed
from pam.study import Claim, Study

SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A claim's outcome. `found`: row minus the deciding `other`, in the score's unit; None where there is no interval.

    p: adjusted; NaN without an interval. left_out: patients without a score in some seed of either row.
    """

    claim: Claim
    outcome: str = UNDECIDED
    other: str = ""
    found: Difference | None = None
    p: float = math.nan
    seeds: int = 0
    left_out: int = 0
    older: int = 0  # cells whose entries do not tell the image's diagonal, which a missed patient's distance is
    advice: str = ""


def judge(study: Study, cells: pd.DataFrame) -> tuple[Verdict, ...]:
    """The verdict on each claim; cells: as `pam.tables.collect` finds them."""
    if not study.claims:
        return ()
    finished = cells[cells.finished]
    ids = sorted(set(finished.id))
    cases = ledger.read_many(ids, "cases", CASE_COLUMNS, later=LATER_CASE_COLUMNS)
    older = {cell for cells in ledger.lacking(ids, "cases", LATER_CASE_COLUMNS).values() for cell in cells}
    scores = patient(cases)
    verdicts = [_worst_comparison(claim, scores, finished) for claim in study.claims]
    if older:
        verdicts = [replace(v, older=len(older)) if v.claim.score == "hd95_mm" else v for v in verdicts]
    tested = [i for i, verdict in enumerate(verdicts) if not math.isnan(verdict.p)]
    for i, p in zip(tested, holm([verdicts[i].p for i in tested]), strict=True):
        verdicts[i] = _decided(replace(verdicts[i], p=p))
    return tuple(verdicts)


def against_reference(study: Study, cells: pd.DataFrame, score: str = "dice") -> tuple[Verdict, ...]:
    """Each variant's difference to the reference in one score; p values are Holm's over the rows."""
    rows = [row.name for row in study.variants if row.name in set(cells.label)]
    name = study.reference.name
    compared = [Claim(id=row, text=f"{row} over {name}", row=row, over=(name,), score=score) for row in rows]
    return judge(replace(study, claims=tuple(compared)), cells)


def sentence(verdict: Verdict) -> str:
    """One line for a terminal."""
    advice = f" ({verdict.advice})" if verdict.advice else ""
    return f"{verdict.claim.id}: {verdict.claim.text}: {verdict.outcome.upper()}{advice}"


def markdown(verdicts: Sequence[Verdict], heading: str) -> str:
    """The verdicts as a table, and what its columns mean."""
    head = ("Claim", "Verdict", "Score", "Row", "Over", "Δ", "95 % CI", "p (Holm)", "Patients", "Seeds", "Detectable Δ")
    lines = [f"# Claims of {heading}", "", _row(head), _row(["---"] * len(head)), *(_row(_texts(v)) for v in verdicts)]
    about = (
        "Δ: mean paired difference over patients (protocol `patient`, seeds averaged), row minus the row beside "
        "it, in the score's own unit (fractions, mm). CI: the wider of the t intervals over patients and over test "
        "folds, not adjusted; p: for a mean difference of zero, Holm over these claims. A claim is supported or "
        "contradicted only if p < 5 %. Detectable Δ: found in 80 % of studies of this size."
    )
    notes = [f"- {sentence(verdict)}" for verdict in verdicts]
    notes += [f"- {v.claim.id}: {v.left_out} patients undefined, left out." for v in verdicts if v.left_out]
    notes += [
        f"- {v.claim.id}: {v.older} cell(s) were scored before the image's diagonal was stored; patients missed there "
        "are undefined: remove those entries and sweep again."
        for v in verdicts
        if v.older
    ]
    return "\n".join([*lines, "", about, "", *notes]) + "\n"


def _worst_comparison(claim: Claim, scores: pd.DataFrame, cells: pd.DataFrame) -> Verdict:
    """The claim against the row over which it is least sure; p not yet adjusted over the claims."""
    verdicts = [_comparison(claim, other, scores, cells) for other in claim.over]
    without = [verdict for verdict in verdicts if verdict.found is None]
    if without:
        return without[0]
    worst = min(verdicts, key=_favour)
    against = worst.found is not None and _gain(worst) < 0
    return replace(worst, p=min(1.0, worst.p * len(verdicts))) if against else worst


def _comparison(claim: Claim, other: str, scores: pd.DataFrame, cells: pd.DataFrame) -> Verdict:
    chosen = cells[cells.label.isin([claim.row, other])]
    table = by_seed_and_patient(scores, chosen, claim.score)
    seeds = [set(chosen.seed[chosen.label == label]) for label in (claim.row, other)]
    common = sorted(seeds[0] & seeds[1])
    blank = Verdict(claim=claim, other=other, seeds=len(common))
    if not common:
        return replace(blank, advice=f"no seed of which both {claim.row!r} and {other!r} are finished")
    paired = (
        table.loc[[(claim.row, seed) for seed in common]].to_numpy()
        - table.loc[[(other, seed) for seed in common]].to_numpy()
    )
    defined = ~pd.isna(paired).any(axis=0)
    who = table.columns[defined]
    blank = replace(blank, left_out=int((~defined).sum()))
    try:
        found = difference(paired[:, defined].mean(axis=0), _fold_of(scores, chosen).loc[who].to_numpy())
    except ValueError as error:  # too few patients or folds
        return replace(blank, advice=str(error))
    return replace(blank, found=found, p=found.p, advice=_advice(found, paired[:, defined]))


def _fold_of(scores: pd.DataFrame, cells: pd.DataFrame) -> pd.Series[int]:
    """The test fold of each patient."""
    fold = dict(zip(cells.id, cells.fold, strict=True))
    index = scores.index.to_frame(index=False)
    known = index[index.cell_id.astype(str).isin(fold)]
    folds = known.cell_id.astype(str).map(fold)
    return folds.groupby(known.patient.astype(str)).first()


def _advice(found: Difference, paired: NDArray[np.float64]) -> str:
    """What would decide, if the effect is as large as it seems; for undecided claims. paired: (seeds, patients)."""
    if found.mean == 0:
        return "no difference was seen"
    patients = math.ceil(found.patients * (found.detectable / abs(found.mean)) ** 2)
    seeds = seeds_needed(paired, found)
    more = f" or {seeds} seeds" if seeds else "; more seeds alone would not do"
    if len(paired) < 2:
        more = "; what more seeds would do is not known from one"
    return f"an effect as large as this one needs about {patients} patients{more}"


def _decided(verdict: Verdict) -> Verdict:
    if verdict.p >= 1 - LEVEL:
        return verdict
    return replace(verdict, outcome=SUPPORTED if _gain(verdict) > 0 else CONTRADICTED, advice="")


def _gain(verdict: Verdict) -> float:
    """The difference, positive where it speaks for the claim."""
    assert verdict.found is not None
    return verdict.found.mean if verdict.claim.more else -verdict.found.mean


def _favour(verdict: Verdict) -> float:
    """How sure the claim is: p with the sign of the evidence, from −1 (against) to 1."""
    return (1 - verdict.p) * (1 if _gain(verdict) > 0 else -1)


def _texts(verdict: Verdict) -> list[str]:
    claim, found = verdict.claim, verdict.found
    head = [claim.id, f"**{verdict.outcome}**", claim.score, claim.row, verdict.other]
    if found is None:
        return [*head, *["–"] * 4, str(verdict.seeds), "–"]
    low, high = found.interval()
    numbers = [f"{found.mean:+.4f}", f"{low:+.4f} to {high:+.4f}", f"{verdict.p:.3g}"]
    return [*head, *numbers, str(found.patients), str(verdict.seeds), f"{found.detectable:.4f}"]


def _row(texts: Sequence[str]) -> str:
    return f"| {' | '.join(text.replace('|', chr(92) + '|') for text in texts)} |"
