"""Columns that every protocol's table has: what a row costs, how much of it is there, and what is undefined."""

from __future__ import annotations

import math
from collections.abc import Mapping

from pam.failures import KINDS
from pam.measures import COSTS
from pam.metrics import STATES
from pam.report.results import Results
from pam.report.sheet import Column, Value, number
from pam.report.tables import Row

COUNTS = "Both / miss / alarm / empty"  # in the order of `STATES`


def costs_of(rows: tuple[Row, ...]) -> dict[str, Column]:
    def column(name: str, texts: Mapping[str, Value], fields: Mapping[str, Mapping[str, object]]) -> Column:
        return Column(heading=COSTS[name], values=texts, fields=fields)

    def plain(value: float, text: str) -> Value:
        return Value(text="–" if math.isnan(value) else text, number=value)

    sizes = {
        row.label: Value(
            text=" / ".join(f"{size / 1e6:.2f}" for size in row.parameters) or "–",
            number=max(row.parameters, default=math.nan),
        )
        for row in rows
    }
    return {
        "parameters": column(
            "parameters", sizes, {row.label: {"parameters": "/".join(map(str, row.parameters))} for row in rows}
        ),
        "gflop": column(
            "gflop",
            {row.label: plain(row.gflop, f"{row.gflop:.2f}") for row in rows},
            {row.label: {"gflop": number(row.gflop)} for row in rows},
        ),
        "train_time": column(
            "train_time",
            {row.label: plain(row.train_seconds.mean, f"{row.train_seconds.mean / 60:.1f}") for row in rows},
            {row.label: {"train_seconds_mean": number(row.train_seconds.mean)} for row in rows},
        ),
        "peak_memory": column(
            "peak_memory",
            {row.label: plain(row.peak_memory_mb, f"{row.peak_memory_mb:.0f}") for row in rows},
            {row.label: {"peak_memory_mb_max": number(row.peak_memory_mb)} for row in rows},
        ),
    }


def found_column(results: Results, protocol: str) -> Column:
    """Cells found of those expected, or patients tested."""
    rows = results.table.rows
    if protocol == "paper":
        texts = {row.label: Value(text=f"{len(row.cells)}/{row.expected}", number=len(row.cells)) for row in rows}
    else:
        tested = {row.label: results.scores[protocol].patients_of(row.label) for row in rows}
        texts = {label: Value(text=str(n), number=n) for label, n in tested.items()}
    fields: dict[str, dict[str, object]] = {}
    for row in rows:
        fields[row.label] = {"cells_found": len(row.cells), "cells_expected": row.expected}
        kinds = list(row.without_result.values())
        fields[row.label] |= {f"cells_{kind}": kinds.count(kind) for kind in KINDS}
        if protocol != "paper":
            fields[row.label]["patients"] = results.scores[protocol].patients_of(row.label)
    return Column(heading="n", values=texts, fields=fields)


def count_column(results: Results, protocol: str) -> Column:
    """How many units are in each state of `pam.metrics.STATES`; all but the first are those that scores may lack."""
    unit = "slices" if protocol == "paper" else "patients"
    counts = {
        row.label: row.slices if protocol == "paper" else results.scores[protocol].states_of(row.label)
        for row in results.table.rows
    }
    values = {
        row.label: Value(
            text=" / ".join(str(counts[row.label][state]) for state in STATES) if row.cells else "missing",
            number=counts[row.label]["both"],
        )
        for row in results.table.rows
    }
    fields = {label: {f"{unit}_{state}": found[state] for state in STATES} for label, found in counts.items()}
    return Column(heading=COUNTS, values=values, fields=fields)
