"""The verdicts on a study's claims as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pam.counts import counted
from pam.report.claims import UNDECIDED, Verdict, sentence
from pam.report.sheet import Sheet, Value, interval, number
from pam.statements import Equivalence, Trend

HEAD = (
    *("Claim", "Statement", "Verdict", "Score", "Row", "Over", "Δ", "95 % CI", "p (Holm)"),
    *("Patients", "Seeds", "Detectable Δ"),
)
CAPTION = (
    "Protocol: patient. Unit: the patient, seeds averaged. Δ: mean paired difference over patients, row minus the "
    "row beside it (Over), as a fraction, for a distance in its unit, or in per cent of the other row's mean "
    "(Fieller's interval); of a trend, the least-squares step from one level to the next. Of several comparisons "
    "the least favourable is shown and decides. CI: the wider of the t intervals over patients and over test folds, "
    "not adjusted. p: for a difference of zero; of a trend, the larger of that and twice Page's; of an equivalence, "
    "of a 95 % CI that lies within ± margin (or wholly outside, as must Nadeau and Bengio's over folds). Holm over "
    "these claims. A claim is supported or contradicted only if p < 5 %, so never while its CI covers zero (of an "
    "equivalence: the margin). Detectable Δ: found in 80 % of studies of this size. n: patients and seeds. "
)
IN_PIXELS = (
    "HD95 is in pixels, the mean over a patient's slices: the data set tells no spacing, so none is in mm or in 3-D."
)


def sheet(verdicts: Sequence[Verdict]) -> Sheet:
    """One line per claim; what would decide an undecided one, and what was left out, stand below."""
    notes = [f"{sentence(verdict)}." for verdict in verdicts]
    notes += [IN_PIXELS] * any(verdict.measure.key == "hd95_px" for verdict in verdicts)
    for verdict in verdicts:
        claim = verdict.claim
        if isinstance(claim, Trend) and not math.isnan(verdict.page):
            notes.append(f"{claim.id}: Page's test of the levels' order over folds, one-sided p {verdict.page:.2g}.")
        if isinstance(claim, Equivalence):
            notes.append(f"{claim.id}: margin {claim.margin:g}.")
        if verdict.left_out:
            notes.append(f"{claim.id}: {counted(verdict.left_out, 'patient')} undefined, left out.")
        if verdict.untested:
            notes.append(f"{claim.id}: {counted(verdict.untested, 'patient')} not tested in all rows yet, left out.")
        if verdict.older:
            notes.append(
                f"{claim.id}: {verdict.older} cell(s) were scored before the image's diagonal was stored; patients "
                "missed there are undefined: remove those entries and sweep again."
            )
    return Sheet(
        name="claims",
        title="Claims",
        protocol="patient",
        unit="patient",
        head=HEAD,
        body=tuple(map(_texts, verdicts)),
        caption=CAPTION.strip(),
        records=tuple(map(_record, verdicts)),
        rests_on=tuple(verdict.claim.rows for verdict in verdicts),
        notes=tuple(notes),
        texts=6,
    )


def _texts(verdict: Verdict) -> tuple[Value, ...]:
    claim, found = verdict.claim, verdict.found
    words = (claim.id, claim.text, verdict.outcome, verdict.measure.title, verdict.row, verdict.other)
    head = [Value(text=text, bold=i == 2 and verdict.outcome != UNDECIDED) for i, text in enumerate(words)]
    seeds = Value(text=str(verdict.seeds), number=verdict.seeds)
    if found is None:
        return (*head, *[Value(text="–")] * 4, seeds, Value(text="–"))
    low, high = found.interval()
    effect = Value(text=f"{found.mean:+.4f}", number=found.mean)
    shown = interval(low, high, 4, signed=True)
    if verdict.relative is not None:
        change = verdict.relative
        effect = Value(text=f"{100 * change.change:+.1f} %", number=change.change)
        known = math.isfinite(change.low) and math.isfinite(change.high)
        shown = f"{interval(100 * change.low, 100 * change.high, 1, signed=True)} %" if known else "unbounded"
    return (
        *head,
        effect,
        Value(text=shown),
        Value(text=f"{verdict.p:.3g}", number=verdict.p),
        Value(text=str(found.patients), number=found.patients),
        seeds,
        Value(text=f"{found.detectable:.4f}", number=found.detectable),
    )


def _record(verdict: Verdict) -> dict[str, object]:
    claim, found, relative = verdict.claim, verdict.found, verdict.relative
    low, high = found.interval() if found else (math.nan, math.nan)
    return {
        "claim": claim.id,
        "statement": claim.text,
        "kind": type(claim).__name__.lower(),
        "verdict": verdict.outcome,
        "score": verdict.measure.key,
        "row": verdict.row,
        "over": verdict.other,
        "difference": number(found.mean if found else math.nan),
        "low": number(low),
        "high": number(high),
        "relative_change": number(relative.change if relative else math.nan),
        "relative_low": number(relative.low if relative else math.nan),
        "relative_high": number(relative.high if relative else math.nan),
        "margin": claim.margin if isinstance(claim, Equivalence) else "",
        "page_p": number(verdict.page),
        "p_holm": number(verdict.p),
        "patients": found.patients if found else "",
        "seeds": verdict.seeds,
        "detectable": number(found.detectable if found else math.nan),
        "left_out": verdict.left_out,
        "untested": verdict.untested,
        "would_decide": verdict.advice,
    }
