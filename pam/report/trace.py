"""From each number to where it comes from: its cells, their commits, data and MLflow runs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pam.report.outcomes import outcomes
from pam.report.results import Results
from pam.report.sheet import Sheet
from pam.study import RESULTS_VERSION

FIELDS = (
    "cell",
    "label",
    "fold",
    "seed",
    "finished",
    "state",
    "epoch",
    "reason",
    "git_commit",
    "data_hash",
    "device",
    "train_seconds",
    "mlflow_run",
)


def cells(results: Results, runs: Mapping[str, str]) -> list[dict[str, Any]]:
    """One record per cell asked for. runs: cell → its MLflow run, as far as there is one."""
    found, became = [], outcomes(results)
    for cell in results.cells.sort_values(["label", "fold", "seed"]).to_dict("records"):
        known = {
            field: cell[field] if cell["finished"] else None for field in ("git_commit", "device", "train_seconds")
        }
        found.append(
            {
                "cell": cell["id"],
                "label": cell["label"],
                "fold": int(cell["fold"]),
                "seed": int(cell["seed"]),
                "finished": bool(cell["finished"]),
                **vars(became[cell["id"]]),
                **known,
                "data_hash": results.table.data_hash,
                "mlflow_run": runs.get(cell["id"]),
            }
        )
    return found


def comma_separated(records: Sequence[Mapping[str, Any]]) -> str:
    """The cells as CSV; an empty field where something is not known."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: "" if value is None else value for key, value in record.items()} for record in records)
    return buffer.getvalue()


def document(results: Results, sheets: Sequence[Sheet], records: Sequence[Mapping[str, Any]]) -> str:
    """JSON: `tables` → their numbers, each with the rows that it `rests_on`; `rows` → cells; `cells` → their origin."""
    table = results.table
    numbers = {
        sheet.name: {
            "protocol": sheet.protocol,
            "unit": sheet.unit,
            "numbers": [
                {"rests_on": list(rows), "values": {key: value for key, value in record.items() if key != "cells"}}
                for rows, record in zip(sheet.rests_on, sheet.records, strict=True)
            ],
        }
        for sheet in sheets
    }
    content = {
        "study": table.study,
        "dataset": table.dataset,
        "phantom": table.phantom,
        "deviations": list(table.deviations),
        "data_hash": table.data_hash,
        "results_version": RESULTS_VERSION,
        "mlflow_experiment": f"{table.study} on {table.dataset}",
        "tables": numbers,
        "rows": results.sources(),
        "cells": {str(record["cell"]): {k: v for k, v in record.items() if k != "cell"} for record in records},
    }
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
