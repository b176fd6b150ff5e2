"""The study's tables under the three protocols: scores of each row, costs, counts, and the published numbers beside."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from pam.measures import MEASURES, Measure
from pam.report import captions
from pam.report.captions import TOLD
from pam.report.columns import costs_of, count_column, found_column
from pam.report.paired import PatientScores
from pam.report.published import Published
from pam.report.results import Results, apart
from pam.report.sheet import Column, Sheet, Value, interval, number
from pam.report.tables import GAP, Row, Summary, gaps, origin
from pam.statistics import LEVEL, Estimate, holm, mean_of


def paper(results: Results, published: Published) -> Sheet:
    """The paper's way: mean ± SD over cells."""
    rows = results.table.rows
    scores = {}
    for measure in MEASURES["paper"]:
        means = {row.label: row.scores[measure.key].mean for row in rows if row.scores[measure.key].n}
        difference = _by_slice(results, measure)
        texts = {row.label: _spread(row, row.scores[measure.key], measure) for row in rows}
        marks = _marks(means, difference, results.study.reference.name, more=measure.more)
        fields = {row.label: _summary_fields(measure.key, row.scores[measure.key]) for row in rows}
        scores[measure.name] = _scored(measure, texts, means, marks, fields)
    return _assembled(results, "paper", "slice", scores, published)


def by_patient(results: Results, protocol: str, published: Published) -> Sheet:
    """The protocols `patient` and `brats`: mean over patients with its interval."""
    known, rows = results.scores[protocol], results.table.rows
    scores = {}
    for measure in known.measures:
        paired = {row.label: known.contrast({row.label: 1.0}, measure.key) for row in rows if row.label in known.labels}
        means = {label: mean_of(found.per_patient) for label, found in paired.items() if len(found.folds)}
        texts, fields = {}, {}
        for row in rows:
            found = paired.get(row.label)
            estimate = _estimate(known, {row.label: 1.0}, measure.key) if row.label in means else None
            tested = found.left_out + len(found.folds) if found else 0
            n = len(found.folds) if found else 0
            mean = means.get(row.label) if row.cells else None
            texts[row.label] = _with_interval(mean, estimate, measure, f" [{n}]" if n < tested else "")
            if not row.cells:
                texts[row.label] = "missing"
            fields[row.label] = _estimate_fields(measure, means.get(row.label, math.nan), estimate, n)
        marks = _marks(means, _by_patient(known, measure), results.study.reference.name, more=measure.more)
        scores[measure.name] = _scored(measure, texts, means, marks, fields)
    return _assembled(results, protocol, "patient", scores, published)


Difference = Callable[[str, str], tuple[float, float, float] | None]  # of row minus other: low, high and p


def _by_slice(results: Results, measure: Measure) -> Difference:
    by_cell, folds = results.by_cell(measure.key), int(results.manifest["folds"])

    def difference(row: str, other: str) -> tuple[float, float, float] | None:
        found = apart(by_cell, row, other, folds)
        if found is None:
            return None
        mean, spread = found
        return mean - spread.half_width(), mean + spread.half_width(), min(1.0, 2 * spread.tail(abs(mean)))

    return difference


def _by_patient(scores: PatientScores, measure: Measure) -> Difference:
    def difference(row: str, other: str) -> tuple[float, float, float] | None:
        found = _estimate(scores, {row: 1.0, other: -1.0}, measure.key)
        return (*found.interval(), found.p) if found else None

    return difference


def _estimate(scores: PatientScores, weights: Mapping[str, float], key: str) -> Estimate | None:
    try:
        return scores.contrast(weights, key).estimate()
    except ValueError:  # too few patients or folds for an interval
        return None


def _marks(
    means: Mapping[str, float], difference: Difference, reference: str, *, more: bool
) -> tuple[set[str], set[str]]:
    """The rows that may be the best, and those that differ from the reference."""
    if not means:
        return set(), set()
    best = (max if more else min)(means, key=lambda label: means[label])
    apart = {label: difference(best, label) for label in means if label != best}
    bold = {best, *(label for label, found in apart.items() if found is None or found[0] <= 0 <= found[1])}
    told = {label: difference(label, reference) for label in means if label != reference and reference in means}
    p = {label: found[2] for label, found in told.items() if found is not None}
    differ = {label for label, value in zip(p, holm(list(p.values())), strict=True) if value < 1 - LEVEL}
    return bold if any(found is not None for found in apart.values()) else set(), differ


def _scored(
    measure: Measure,
    texts: Mapping[str, str],
    means: Mapping[str, float],
    marks: tuple[set[str], set[str]],
    fields: Mapping[str, Mapping[str, object]],
) -> Column:
    best, differ = marks
    bold = best if len(best) < len(means) else set()  # all of them would point at nothing
    values = {
        label: Value(
            text=text + (f" {TOLD}" if label in differ else ""),
            number=means.get(label, math.nan) * measure.factor,
            bold=label in bold,
        )
        for label, text in texts.items()
    }
    return Column(heading=measure.heading, values=values, fields=fields, alike=len(best) > len(bold))


def _spread(row: Row, summary: Summary, measure: Measure) -> str:
    if not row.cells:
        return "missing"
    if summary.n == 0:
        return "undefined [0]"
    spread = "–" if summary.n == 1 else f"{summary.sd * measure.factor:.{measure.decimals}f}"
    text = f"{summary.mean * measure.factor:.{measure.decimals}f} ± {spread}"
    return text + (f" [{summary.n}]" if summary.n < len(row.cells) else "")


def _with_interval(mean: float | None, found: Estimate | None, measure: Measure, mark: str) -> str:
    if mean is None:
        return "undefined [0]"
    text = f"{mean * measure.factor:.{measure.decimals}f}"
    if found is not None:
        low, high = (end * measure.factor for end in _possible(found, measure))
        text += f" ({interval(low, high, measure.decimals)})"
    return text + mark


def _summary_fields(key: str, summary: Summary) -> dict[str, object]:
    return {f"{key}_mean": number(summary.mean), f"{key}_sd": number(summary.sd), f"{key}_n": summary.n}


def _estimate_fields(measure: Measure, mean: float, found: Estimate | None, n: int) -> dict[str, object]:
    low, high = _possible(found, measure) if found else (math.nan, math.nan)
    key = measure.key
    return {f"{key}_mean": number(mean), f"{key}_low": number(low), f"{key}_high": number(high), f"{key}_n": n}


def _possible(found: Estimate, measure: Measure) -> tuple[float, float]:
    """The interval, as far as a score can be: from 0, and to 1 if it is a fraction."""
    low, high = found.interval()
    return max(low, 0.0), min(high, 1.0 if measure.factor == 100 else math.inf)


def _opening(results: Results) -> str:
    """The study's caption, which tells its own data set: on another one its question stands instead."""
    study, table = results.study, results.table
    return study.caption if study.caption and table.dataset == study.dataset else table.question


def _assembled(results: Results, protocol: str, unit: str, scores: Mapping[str, Column], published: Published) -> Sheet:
    """Scores, published numbers, costs and counts, in the study's order of columns."""
    rows = results.table.rows
    labels = [row.label for row in rows]
    costs = costs_of(results.table.rows)
    known = [name for name, column in costs.items() if any(value.text != "–" for value in column.values.values())]
    wanted = results.study.columns or (*scores, *known)
    columns = []
    for name in wanted:
        if name in scores or name in costs:
            columns.append(scores[name] if name in scores else costs[name])
            beside = published.column(name, labels)
            if beside is not None and (protocol == "paper" or name in costs):
                columns.append(Column(heading=beside.heading, values=beside.values, fields=beside.fields))
    columns += [found_column(results, protocol), count_column(results, protocol)]
    names = {row.label: Value(text=row.label + (f" {GAP}" if row.missing else "")) for row in rows}
    every = [*scores.values(), *costs.values(), *columns]  # the CSV holds what the study leaves out, too
    records = []
    for label in labels:
        record: dict[str, object] = {"variant": label}
        for column in every:
            record |= column.fields[label]
        records.append(record | {"cells": " ".join(results.sources()[label])})
    alike = ", ".join(column.heading for column in columns if column.alike)
    in_mm = protocol == "paper" or any(measure.key == "hd95_mm" for measure in results.scores[protocol].measures)
    return Sheet(
        name=protocol,
        title=f"Results, protocol {protocol}",
        protocol=protocol,
        unit=unit,
        head=("Variant", *(column.heading for column in columns)),
        body=tuple((names[label], *(column.values[label] for column in columns)) for label in labels),
        caption=f"{_opening(results)} {captions.of(protocol, in_mm=in_mm)}",
        records=tuple(records),
        rests_on=tuple((label,) for label in labels),
        notes=(
            *([f"No row can be told from the best, so none is bold: {alike}."] if alike else []),
            *gaps(results.table),
            *origin(results.table),
            *(published.notes if protocol == "paper" else ()),
        ),
        reference=True,
    )
