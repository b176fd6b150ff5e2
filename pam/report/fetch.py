"""A study's results from MLflow alone, laid out as a PAM_HOME, for a machine that has not the ledger."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pam import home, manifest, study
from pam.errors import ResultsError
from pam.files import write_text
from pam.redact import redact
from pam.track.reader import Reader

THREADS = 8


@contextmanager
def home_from(uri: str, name_or_path: str, dataset: str | None) -> Iterator[None]:
    """A temporary PAM_HOME with the study's manifest, views, finished cells and failures, while the block runs.

    `dataset`: None for the one swept last. Raises `ResultsError` if the server has no such study or does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="pam-report-") as folder, _home(folder):
        _fill(Reader(uri), study.load(name_or_path).name, dataset)
        yield


@contextmanager
def _home(folder: str) -> Iterator[None]:
    before = os.environ.get("PAM_HOME")
    os.environ["PAM_HOME"] = folder
    try:
        yield
    finally:
        if before is None:
            del os.environ["PAM_HOME"]
        else:
            os.environ["PAM_HOME"] = before


def _fill(reader: Reader, name: str, dataset: str | None) -> None:
    """Download the newest manifest of the study, what figures show of its data, and its cells."""
    with tempfile.TemporaryDirectory(prefix="pam-report-") as folder:
        found = {}
        for number, experiment in enumerate(reader.experiments(name)):
            path = reader.study_files(experiment, Path(folder) / str(number))
            if path is not None:
                asked = json.loads((path / manifest.FILE).read_text(encoding="utf-8"))
                found[asked["dataset"]] = (asked, experiment, path)
        wanted = [entry for on, entry in found.items() if dataset in (None, on)]
        if not wanted:
            there = f"; it has it on: {', '.join(sorted(found))}" if found else ""
            raise ResultsError(
                f"{redact(reader.uri)}: no study {name!r}{f' on {dataset!r}' if dataset else ''}{there}; "
                "was it swept with this address as MLFLOW_TRACKING_URI?"
            )
        asked, experiment, path = max(wanted, key=lambda entry: str(entry[0]["written"]))
        write_text(manifest.path_of(asked["study"], asked["dataset"]), json.dumps(asked, indent=1))
        for view in path.glob("*.parquet"):
            home.views().mkdir(parents=True, exist_ok=True)
            view.replace(home.views() / view.name)
    _cells(reader, experiment, asked)


def _cells(reader: Reader, experiment: str, asked: dict[str, Any]) -> None:
    """Download the entries of the cells asked for that have finished, and why others have failed; note their runs."""
    runs, failed = (reader.cells(experiment, status) for status in ("FINISHED", "FAILED"))
    write_text(home.runs_of(asked["study"], asked["dataset"]), json.dumps(runs | failed, indent=1))
    ids = {cell["id"] for cell in asked["cells"]}
    with ThreadPoolExecutor(THREADS) as pool:
        wanted = [(run, home.ledger() / cell) for cell, run in runs.items() if cell in ids]
        list(pool.map(lambda pair: reader.download(*pair), wanted))
        lost = [run for cell, run in failed.items() if cell in ids]
        list(pool.map(lambda run: reader.download_failure(run, home.failures()), lost))
