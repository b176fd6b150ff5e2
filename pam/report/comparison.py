"""Is it real, and does it last? Each row against the reference, and its rank under each protocol."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations

import numpy as np
from scipy import stats

from pam.measures import MEASURES, Measure
from pam.report.claims import UNDECIDED, Verdict, against_reference
from pam.report.results import Results, ranks
from pam.report.sheet import Sheet, Value, interval, number
from pam.statistics import Floats, holm, mean_of, nadeau_bengio, rank_stability, seed_noise, seeds_needed, wilcoxon

HEAD = (
    *("Variant", "Δ", "95 % CI", "p (Holm)", "Wilcoxon p (Holm)", "CI over folds", "P(false)"),
    *("Seed noise", "Detectable Δ", "Seeds needed", "Patients", "Seeds", "Left out"),
)
STATISTICS = (
    "Protocol: patient. Unit: the patient. Δ: mean paired difference to the reference {reference}, each patient's "
    "seeds averaged. 95 % CI: the wider of the t intervals over patients and over test folds, not adjusted; p: of "
    "the hypothesis that the mean difference is zero over patients and trainings, by Holm over the rows of one "
    "score. Wilcoxon p: of the hypothesis that differences are symmetric about zero over patients, by Holm, too; "
    "beside the others because the field expects it: it is no test of the mean, and it counts patients as "
    "independent though they share networks (docs/statistics.md). CI over folds: Nadeau and Bengio's corrected t "
    "for the mean of the folds' differences, for training sets that overlap. P(false): probability that the true "
    "difference has the other sign, under a flat prior. Seed noise: SD of the difference of two trainings of the "
    "row that differ in their seed alone (A/A), the floor below which one training of each tells nothing. "
    "Detectable Δ: found in 80 % of studies of this size. Seeds needed: to tell a difference as large as the one "
    "seen from zero; – if no number of seeds would do, or one seed cannot tell. Left out: patients that are "
    "undefined or not tested in both rows. "
)
RANKING = (
    "Rank of each row, 1 the best, by its mean under each protocol (paper: mean over cells; patient and brats: mean "
    "over patients). First: share of 1000 draws of patients and seeds, the same for all rows, in which the row has "
    "the best Dice per patient; 90 % of ranks: those between the 5th and the 95th percentile of the draws. The "
    "draws describe how firm a rank is and claim nothing. "
)
DRAWS = 1000


def statistics(results: Results) -> list[Sheet]:
    """Each variant's difference to the reference, a table for each score of the protocol `patient`."""
    return [_differences(results, measure) for measure in results.scores["patient"].measures]


def _differences(results: Results, measure: Measure) -> Sheet:
    scores, name = results.scores["patient"], results.study.reference.name
    verdicts = against_reference(results.study, scores, measure.name, more=measure.more)
    pairs = {v.claim.id: scores.contrast({v.row: 1.0, v.other: -1.0}, measure.key) for v in verdicts}
    signed = {v.claim.id: wilcoxon(pairs[v.claim.id].per_patient) for v in verdicts if v.found}
    signed = dict(zip(signed, holm(list(signed.values())), strict=True))
    lines = [_line(results, measure, verdict, signed.get(verdict.claim.id, math.nan)) for verdict in verdicts]
    return Sheet(
        name=f"statistics_{measure.name}",
        title=f"Differences to {name}, {measure.heading}",
        protocol="patient",
        unit="patient",
        head=HEAD,
        body=tuple(texts for texts, _ in lines),
        caption=STATISTICS.format(reference=name).strip(),
        records=tuple(record for _, record in lines),
        rests_on=tuple((verdict.row, verdict.other) for verdict in verdicts),
        notes=tuple(f"{v.row}: no interval: {v.advice}." for v in verdicts if v.found is None),
    )


def _line(
    results: Results, measure: Measure, verdict: Verdict, signed: float
) -> tuple[tuple[Value, ...], dict[str, object]]:
    """A row's texts and its record."""
    scores, found, scale, places = results.scores["patient"], verdict.found, measure.factor, measure.decimals
    paired = scores.contrast({verdict.row: 1.0, verdict.other: -1.0}, measure.key)
    left_out = paired.left_out + paired.untested
    alone = scores.contrast({verdict.row: 1.0}, measure.key).complete
    noise = seed_noise(alone) if alone.size else math.nan
    record: dict[str, object] = {"variant": verdict.row, "reference": verdict.other, "score": measure.key}
    head = (Value(text=verdict.row),)
    tail = (Value(text=str(verdict.seeds), number=verdict.seeds), Value(text=str(left_out), number=left_out))
    counts = {"patients": len(paired.folds), "seeds": verdict.seeds, "left_out": left_out}
    floor = Value(text="–" if math.isnan(noise) else f"{noise * scale:.{places}f}", number=noise * scale)
    if found is None:
        blank = tuple(Value(text="–") for _ in range(6))
        patients = Value(text=str(len(paired.folds)), number=len(paired.folds))
        return (*head, *blank, floor, Value(text="–"), Value(text="–"), patients, *tail), record | counts
    low, high = found.interval()
    spread, corrected = nadeau_bengio(paired.fold_means, 1 / (int(results.manifest["folds"]) - 1))
    centre, half = mean_of(paired.fold_means), spread.half_width()
    needed = seeds_needed(paired.complete, found, abs(found.mean)) if paired.complete.size else None
    decided = verdict.outcome != UNDECIDED
    texts = (
        Value(text=f"{found.mean * scale:+.{places}f}", number=found.mean * scale, bold=decided),
        Value(text=interval(low * scale, high * scale, places, signed=True)),
        Value(text=_p(verdict.p), number=verdict.p, bold=decided),
        Value(text=_p(signed), number=signed),
        Value(text=interval((centre - half) * scale, (centre + half) * scale, places, signed=True)),
        Value(text=_p(found.false_outperformance), number=found.false_outperformance),
        floor,
        Value(text=f"{found.detectable * scale:.{places}f}", number=found.detectable * scale),
        Value(text=str(needed) if needed else "–", number=needed or math.nan),
        Value(text=str(found.patients), number=found.patients),
        *tail,
    )
    numbers = {
        "difference": found.mean,
        "low": low,
        "high": high,
        "p": found.p,
        "p_holm": verdict.p,
        "wilcoxon_p_holm": signed,
        "folds_difference": centre,
        "folds_low": centre - half,
        "folds_high": centre + half,
        "folds_p": corrected,
        "false_outperformance": found.false_outperformance,
        "seed_noise": noise,
        "detectable": found.detectable,
    }
    record |= {name: number(value) for name, value in numbers.items()}
    return (*head, *texts), record | {"seeds_needed": needed or ""} | counts


def _p(value: float) -> str:
    return "–" if math.isnan(value) else "<0.001" if value < 0.001 else f"{value:.3f}"


def ranking(results: Results) -> Sheet:
    """Each row's rank under each protocol, and how well the orders agree."""
    labels, shared = [row.label for row in results.table.rows], _shared(results)
    names = {(protocol, measure.name): measure for measures in shared.values() for protocol, measure in measures}
    orders = {
        (protocol, name): ranks(_means(results, protocol, measure), more=measure.more)
        for (protocol, name), measure in names.items()
    }
    first, span = _stability(results)
    head = ["Variant", *(f"{names[key].heading.partition(' ')[0]}, {key[0]}" for key in orders)]
    body, records = [], []
    for label in labels:
        places = [order.get(label, math.nan) for order in orders.values()]
        shown = [Value(text="–" if math.isnan(rank) else f"{rank:g}", number=rank) for rank in places]
        share = first.get(label, math.nan)
        spread = Value(text="–" if math.isnan(share) else f"{share:.0%}".replace("%", " %"), number=share)
        body.append((Value(text=label), *shown, spread, Value(text=span.get(label, "–"))))
        ranked = {
            f"rank_{name}_{protocol}": number(rank) for (protocol, name), rank in zip(orders, places, strict=True)
        }
        records.append({"variant": label, **ranked, "share_first": number(share), "ranks_90": span.get(label, "")})
    return Sheet(
        name="ranking",
        title="Ranking under each protocol",
        protocol="paper, patient, brats",
        unit="row",
        head=(*head, "First", "90 % of ranks"),
        body=tuple(body),
        caption="Protocols: paper, patient, brats. Unit: the row. " + RANKING.strip(),
        records=tuple(records),
        rests_on=tuple((label,) for label in labels),
        notes=tuple(note for measures in shared.values() for note in _agreement(results, measures, orders)),
        reference=True,
    )


def _shared(results: Results) -> dict[str, list[tuple[str, Measure]]]:
    """The measures that more than one protocol has, by name."""
    found: dict[str, list[tuple[str, Measure]]] = {}
    by_protocol = {"paper": MEASURES["paper"]} | {name: scores.measures for name, scores in results.scores.items()}
    for protocol, measures in by_protocol.items():
        for measure in measures:
            found.setdefault(measure.name, []).append((protocol, measure))
    return {name: measures for name, measures in found.items() if len(measures) > 1}


def _means(results: Results, protocol: str, measure: Measure) -> dict[str, float]:
    """Each row's mean, of the rows that have one."""
    if protocol == "paper":
        return {row.label: row.scores[measure.key].mean for row in results.table.rows if row.scores[measure.key].n}
    scores = results.scores[protocol]
    found = {label: scores.contrast({label: 1.0}, measure.key) for label in scores.labels}
    return {label: mean_of(paired.per_patient) for label, paired in found.items() if len(paired.folds)}


def _agreement(
    results: Results, measures: list[tuple[str, Measure]], orders: Mapping[tuple[str, str], Mapping[str, float]]
) -> list[str]:
    """A sentence for each two protocols: Kendall's tau of their orders, and which rows change places."""
    notes = []
    for (one, measure), (two, _) in combinations(measures, 2):
        first, second = orders[one, measure.name], orders[two, measure.name]
        rows = [row.label for row in results.table.rows if row.label in first and row.label in second]
        if len(rows) < 2:
            continue
        tau = stats.kendalltau([first[row] for row in rows], [second[row] for row in rows]).statistic
        swapped = [(a, b) for a, b in combinations(rows, 2) if (first[a] - first[b]) * (second[a] - second[b]) < 0]
        told = [pair for pair in swapped if _told_apart(results, measure, pair)]
        name = measure.heading.partition(" ")[0]
        verdict = (
            "the order stays the same" if not swapped else f"{len(swapped)} of {math.comb(len(rows), 2)} pairs swap"
        )
        listed = "; ".join(f"{a} / {b}" for a, b in swapped[:8]) + ("; …" if len(swapped) > 8 else "")
        doubt = f" Of these, {len(told)} differ by more than chance per patient (95 % CI)." if swapped else ""
        known = "undefined" if math.isnan(tau) else f"{tau:.2f}"
        notes.append(
            f"{name}, {one} against {two}: Kendall's τ {known}; {verdict}{f': {listed}.' if swapped else '.'}{doubt}"
        )
    return notes


def _told_apart(results: Results, measure: Measure, pair: tuple[str, str]) -> bool:
    """Whether two rows' difference per patient has an interval without zero."""
    scores = results.scores["patient"]
    key = scores.measure(measure.name).key
    try:
        low, high = scores.contrast({pair[0]: 1.0, pair[1]: -1.0}, key).estimate().interval()
    except ValueError:  # too few patients or folds for an interval
        return False
    return not low <= 0 <= high


def rank_shares(results: Results) -> tuple[list[str], Floats]:
    """Rows, and the share of draws in which each has each rank by Dice per patient, (rows, ranks).

    Rows that have tested fewer patients than most are left out; both are empty if no seed tested every patient in all.
    """
    scores = results.scores["patient"]
    known = [row.label for row in results.table.rows if row.label in scores.labels]
    tested = {label: int(scores.tested[scores.labels[label]].sum()) for label in known}
    usual = sorted(tested.values())[len(tested) // 2]
    kept = [label for label in known if tested[label] >= usual]
    values = scores.complete("dice", kept)
    if not all(values.shape):
        return [], np.empty((0, 0))
    return kept, rank_stability(values, np.random.default_rng(0), DRAWS)


def _stability(results: Results) -> tuple[dict[str, float], dict[str, str]]:
    """Share of draws in which each row is first by Dice per patient, and the ranks that hold 90 % of them."""
    known, shares = rank_shares(results)
    if not known:
        return {}, {}
    ends = [np.argmax(np.cumsum(shares, axis=1) >= level - 1e-9, axis=1) + 1 for level in (0.05, 0.95)]
    spans = {label: f"{low} to {high}" for label, low, high in zip(known, *ends, strict=True)}
    return {label: float(share) for label, share in zip(known, shares[:, 0], strict=True)}, spans
