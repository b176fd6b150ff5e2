"""What a sweep asked for: one JSON file per study and data set, from which a report knows the cells to expect."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pam import cells, files, home, leases
from pam.data.store import Store
from pam.errors import StudyError
from pam.files import write_text
from pam.study import Cell, Study

FILE = "manifest.json"  # its name in the MLflow mirror


def path_of(study: str, dataset: str) -> Path:
    return home.studies() / study / f"{dataset}.json"


def write(
    study: Study,
    store: Store,
    asked: Sequence[Cell],
    declared: Iterable[Cell],
    *,
    split: Mapping[str, Any],
    settings: Mapping[str, Any],
    demo: bool,
) -> dict[str, Any]:
    """Record the cells asked for; cells of earlier sweeps stay if the study, as it is now, still declares them.

    `split` is what `pam.data.split_choice.describe` says of the study's splits.
    """
    path = path_of(study.name, store.dataset)
    with leases.Watch().wait(f"study-{study.name}-{store.dataset}"):  # another driver may add its cells
        declared_ids = {cell.id for cell in declared}
        earlier = json.loads(files.here(path).read_text())["cells"] if files.exists(path) else []
        by_id = {cell["id"]: cell for cell in earlier if cell["id"] in declared_ids}
        by_id |= {cell.id: cells.describe(cell) for cell in asked}
        rows = {row.name: number for number, row in enumerate(study.rows)}  # a cell may still have an earlier label
        manifest = {
            "study": study.name,
            "question": study.question,
            "dataset": store.dataset,
            "title": store.title,
            "phantom": store.phantom,
            "demo": demo,
            "settings": dict(settings),
            "split": dict(split),
            "folds": study.folds,
            "seeds": study.seeds,
            "data_hash": store.hash,
            "remarks": store.remarks,
            "written": datetime.datetime.now(datetime.UTC).isoformat(),
            "cells": sorted(
                by_id.values(), key=lambda cell: (cell["seed"], cell["fold"], rows.get(cell["label"], len(rows)))
            ),
        }
        write_text(path, json.dumps(manifest, indent=1))
    return manifest


def read(study: str, dataset: str | None = None) -> dict[str, Any]:
    """The study's newest manifest, or that of one data set; `StudyError` if the study was never swept on it."""
    found = files.found(home.studies(), f"{study}/{dataset or '*'}.json")
    if not found:
        on = f" --dataset {dataset}" if dataset else ""
        raise StudyError(f"study {study!r} has no results under {home.address()}; run: python -m pam.sweep {study}{on}")
    manifests = [json.loads(files.here(path).read_text()) for path in found]
    newest: dict[str, Any] = max(manifests, key=lambda manifest: manifest["written"])
    return newest
