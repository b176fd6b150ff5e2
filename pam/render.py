"""A table as Markdown, CSV, LaTeX and plain text. The same table gives the same bytes: no dates, no paths."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence

from pam.metrics import STATES
from pam.tables import MEASURES, PROTOCOL, UNIT, Row, Summary, Table

PHANTOM = "PHANTOM DATA: images made by this project, not by a scanner; the numbers say nothing about patients."
COUNTS = {"both": "Slices", "miss": "Misses", "false_alarm": "False alarms", "both_empty": "Both empty"}
HEADINGS = ("Variant", *(m.heading for m in MEASURES), "Parameters (M)", "n", *(COUNTS[state] for state in STATES))
IN_TERMINAL = ("Variant", "IoU (%)", "HD95 (px)", "FN/P (%)", "Dice per patient (%)", "n")
GAP = "†"  # marks a row with missing cells
CAPTION = (
    f"Protocol: {PROTOCOL}. Unit: the {UNIT}. "
    "IoU, Dice, HD95, FP/N and FN/P: mean over those test slices of a cell in which prediction and target are both "
    "non-empty (Slices); then mean ± SD over the row's cells, which are fold × seed (SD with n − 1; – for one cell). "
    "Slices in which a mask is empty are left out of these means and counted: Misses (prediction empty), False alarms "
    "(target empty), Both empty. Counts are sums over the cells. "
    "IoU: mean of foreground and background IoU. HD95: 95th percentile of the pooled surface distances (MedPy's "
    "definition), in pixels. FP/N and FN/P: per cent of the target's negative and positive pixels. "
    "Dice per patient: all slices of a patient pooled, the empty ones too, so that a missed patient has 0; mean over a "
    "cell's test patients, then mean ± SD over cells. n: cells found/expected."
)


def markdown(table: Table) -> str:
    """Heading, deviations, the table, caption and notes."""
    rows = [HEADINGS, *map(_texts, table.rows)]
    widths = _widths(rows)
    lines = [[_pad(text.replace("|", r"\|"), *cell) for text, cell in zip(row, widths, strict=True)] for row in rows]
    rule = ["-" * widths[0][0], *("-" * (width - 1) + ":" for width, _ in widths[1:])]
    body = ["| " + " | ".join(line) + " |" for line in (lines[0], rule, *lines[1:])]
    phantom = [f"> **{PHANTOM}**", ""] if table.phantom else []
    head = [f"# {table.heading}", "", *phantom, table.question, "", f"{_deviations(table)}", ""]
    return "\n".join([*head, *body, "", CAPTION, "", *(f"- {note}" for note in notes(table))]) + "\n"


def plain(table: Table) -> str:
    """The columns most asked for, to print in a terminal."""
    chosen = [HEADINGS.index(heading) for heading in IN_TERMINAL]
    rows = [[texts[i] for i in chosen] for texts in (HEADINGS, *map(_texts, table.rows))]
    widths = _widths(rows)
    body = ["  ".join(_pad(text, *cell) for text, cell in zip(row, widths, strict=True)).rstrip() for row in rows]
    head = [table.heading, *([PHANTOM] if table.phantom else []), f"Protocol: {PROTOCOL}. {_deviations(table)}", ""]
    mixed = [_origin("git commit", table.commits)] if len(table.commits) > 1 else []
    return "\n".join([*head, *body, *_gaps(table), *mixed])


def comma_separated(table: Table) -> str:
    """For programs: full precision, fractions instead of per cent, an empty field where nothing is defined."""
    context = {
        "study": table.study,
        "dataset": table.dataset,
        "title": table.title,
        "phantom": str(table.phantom).lower(),
        "deviations": "; ".join(table.deviations),
        "protocol": PROTOCOL,
        "unit": UNIT,
        "data_hash": table.data_hash,
        "git_commits": " ".join(table.commits),
        "devices": "; ".join(table.devices),
    }
    records = [_record(row) | context for row in table.rows]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return buffer.getvalue()


def latex(table: Table) -> str:
    """A booktabs table; the document needs the packages booktabs and graphicx."""
    about = " ".join([table.question, _deviations(table), CAPTION, *notes(table)])
    bold = f"{table.heading}." + (f" {PHANTOM}" if table.phantom else "")
    rows = [" & ".join(map(_escape, _texts(row))) + r" \\" for row in table.rows]
    lines = [
        r"% needs \usepackage{booktabs,graphicx}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{\textbf{{{_escape(bold)}}} {_escape(about)}}}",
        rf"\label{{tab:{table.study}-{table.dataset}}}",
        r"\resizebox{\textwidth}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * (len(HEADINGS) - 1)}}}",
        r"\toprule",
        " & ".join(map(_escape, HEADINGS)) + r" \\",
        r"\midrule",
        rows[0],
        *([r"\midrule"] if len(rows) > 1 else []),  # the reference stands apart
        *rows[1:],
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def notes(table: Table) -> list[str]:
    """What must be known beside the caption: gaps, undefined values, origin and cost of the numbers."""
    lines = _gaps(table)
    for row in table.rows:
        for measure in MEASURES:
            n, found = row.scores[measure.key].n, len(row.cells)
            if n < found:
                lines.append(f"[{n}] {row.label}: {measure.heading} is undefined in {found - n} of {found} cells.")
    scored, empty = sum(row.patients for row in table.rows), sum(row.patients_both_empty for row in table.rows)
    lines.append(
        f"Dice per patient: {scored} scores over all rows; {empty} more undefined (both masks empty), left out."
    )
    lines.append(f"Data: {table.dataset}, content hash {table.data_hash}.")
    lines += [_origin("git commit", table.commits), _origin("device", table.devices)]
    seconds = [row.train_seconds.mean for row in table.rows if row.train_seconds.n]
    if seconds:
        peak = max((row.peak_memory_mb for row in table.rows if row.peak_memory_mb > 0), default=math.nan)
        lines.append(
            f"Training: {min(seconds):.0f} to {max(seconds):.0f} s per cell (means of the rows); "
            f"peak memory of a training process {'unknown' if math.isnan(peak) else f'{peak:.0f} MB'}."
        )
    return lines


def _texts(row: Row) -> list[str]:
    """A row's cells in the order of `HEADINGS`."""
    scores = []
    for measure in MEASURES:
        summary = row.scores[measure.key]
        text = _score(summary, measure.factor, measure.decimals) if row.cells else "missing"
        scores.append(text + (f" [{summary.n}]" if summary.n < len(row.cells) else ""))
    parameters = " / ".join(f"{number / 1e6:.2f}" for number in row.parameters) or "–"
    n = f"{len(row.cells)}/{row.expected}"
    counts = [str(row.slices[state]) if row.cells else "missing" for state in STATES]
    return [row.label + (f" {GAP}" if row.missing else ""), *scores, parameters, n, *counts]


def _score(summary: Summary, factor: float, decimals: int) -> str:
    if summary.n == 0:
        return "undefined"
    spread = "–" if summary.n == 1 else f"{summary.sd * factor:.{decimals}f}"
    return f"{summary.mean * factor:.{decimals}f} ± {spread}"


def _record(row: Row) -> dict[str, object]:
    scores: dict[str, object] = {}
    for measure in MEASURES:
        summary = row.scores[measure.key]
        scores[f"{measure.key}_mean"] = _number(summary.mean)
        scores[f"{measure.key}_sd"] = _number(summary.sd)
        scores[f"{measure.key}_n"] = summary.n
    return {
        "variant": row.label,
        **scores,
        "parameters": "/".join(map(str, row.parameters)),
        "cells_found": len(row.cells),
        "cells_expected": row.expected,
        **{f"slices_{state}": row.slices[state] for state in STATES},
        "patients": row.patients,
        "patients_both_empty": row.patients_both_empty,
        "train_seconds_mean": _number(row.train_seconds.mean),
        "peak_memory_mb_max": _number(row.peak_memory_mb),
        "cells": " ".join(row.cells),
    }


def _number(value: float) -> str:
    """The shortest text that reads back as the same float; empty for NaN."""
    return "" if math.isnan(value) else repr(value)


def _deviations(table: Table) -> str:
    return f"Deviations from the study as declared: {'; '.join(table.deviations) or 'none'}."


def _gaps(table: Table) -> list[str]:
    """The missing cells of each row; the rows with none are left out."""
    gaps = []
    for row in table.rows:
        if row.missing:
            where = ", ".join(f"{fold}/{seed}" for fold, seed in row.missing)
            gaps.append(f"{GAP} {row.label}: {len(row.missing)} of {row.expected} cells missing (fold/seed {where}).")
    return gaps


def _origin(kind: str, counts: Mapping[str, int]) -> str:
    if len(counts) == 1:
        return f"All cells come from one {kind}: {next(iter(counts))}."
    found = ", ".join(f"{name} ({count} cell{'s' * (count != 1)})" for name, count in counts.items())
    return f"MIXED: the cells come from {len(counts)} {kind}s: {found}."


def _widths(rows: Sequence[Sequence[str]]) -> list[tuple[int, str]]:
    """Width and side of each column: the first is text, the others numbers."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [(width, "<" if i == 0 else ">") for i, width in enumerate(widths)]


def _pad(text: str, width: int, side: str) -> str:
    return f"{text:{side}{width}}"


def _escape(text: str) -> str:
    """Text for LaTeX: its special characters escaped, signs that old fonts lack as commands."""
    signs = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    signs |= {letter: f"\\{letter}" for letter in "&%$#_{}"}
    signs |= {"±": r"$\pm$", "×": r"$\times$", "−": "$-$", "†": r"\dag{}", "–": "--", "≥": r"$\geq$"}
    return re.sub("|".join(map(re.escape, signs)), lambda match: signs[match[0]], text)
