"""What the service bears: cells that log at once, a study of thousands of cells, jobs submitted in a row.

    python tests/benchmarks/load.py logging [--loggers 8] [--epochs 500]      # on SQLite; on PostgreSQL:
    tests/cluster/with_postgres.sh python tests/benchmarks/load.py logging
    python tests/benchmarks/load.py study [--cells 2000] [--mirrored 2000]
    python tests/benchmarks/load.py jobs [--jobs 50]
    python tests/benchmarks/load.py                       # all three

`logging`: a mirror (`pam.track.Mirror`) per cell, each in a process of its own as sweeps have them, all against the
service's MLflow server; fails unless every epoch is there once. `study`: a finished study is synthesised and
`pam.status` asked for it; the first `mirrored` cells are written to the service's empty MLflow server by `pam.track
sync`, which fails unless it ends up to date; the server then is asked for all of its runs.
`jobs`: `ray job submit` called so often in a row, each time without waiting for the job's end; fails unless all jobs
succeed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from measured import Row, finish, options
from report_scale import FOLDS, SEEDS, STUDY, synthesise

from pam import home, manifest, study
from pam.cells import describe

RAY, DASHBOARD, MLFLOW = 16379, 18265, 15000  # ports of the service that is measured
SUBMITTED = ("--no-wait", "--", "python", "-m", "pam.status")
PATIENTS, SLICES = 2, 5  # of a synthetic cell's test fold


def pam(module: str, *words: str) -> float:
    """Seconds that a command takes. Raises `subprocess.CalledProcessError` if it fails."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", module, *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def processor() -> float:
    """Seconds of the processor that all commands have taken so far; servers, which go on, are not among them."""
    taken = resource.getrusage(resource.RUSAGE_CHILDREN)
    return taken.ru_utime + taken.ru_stime


@contextmanager
def own_home() -> Iterator[Path]:
    """An empty PAM_HOME."""
    with tempfile.TemporaryDirectory(prefix="pam-load-") as folder:
        os.environ["PAM_HOME"] = folder
        yield Path(folder)


@contextmanager
def service() -> Iterator[str]:
    """A service under PAM_HOME; its MLflow server's address."""
    ports = {"ray": RAY, "dashboard": DASHBOARD, "mlflow": MLFLOW}
    pam("pam.service", "up", *(f"--{name}-port={port}" for name, port in ports.items()))
    try:
        yield f"http://127.0.0.1:{MLFLOW}"
    finally:
        pam("pam.service", "down")


def asked(folder: Path, cells: int) -> dict:
    """The manifest of a study of so many cells, all finished."""
    path = folder / "large.py"
    path.write_text(STUDY.format(rows=-(-cells // (FOLDS * SEEDS)), folds=FOLDS, seeds=SEEDS))
    synthesise(study.load(str(path)), PATIENTS, SLICES)
    return manifest.read("large")


def log(number: int, epochs: int) -> float:
    """Log one cell's epochs as its sweep does, as fast as the mirror takes them; seconds until all are written."""
    from pam.track import Mirror

    cell = study.Cell(
        label="unet", network="unet", options={}, recipe={}, fold=0, seed=number, data_hash="d", split_hash="s"
    )
    told = {"study": "load", "question": "?", "dataset": "brats2018", "title": "none", "phantom": True, "demo": False}
    told |= {"settings": {}, "folds": 1, "seeds": 8, "data_hash": "d", "cells": [describe(cell)]}
    start = time.perf_counter()
    mirror = Mirror(told)
    for epoch in range(1, epochs + 1):
        mirror.epoch(cell.id, {"epoch": epoch, "loss": 1 / epoch, "learning_rate": 1e-3, "seconds": 1.0})
        time.sleep(0.01)
    mirror.interrupted(cell.id)
    mirror.close(patience=120)
    if mirror.behind:
        raise RuntimeError(mirror.behind)
    return time.perf_counter() - start


def logging(arguments: argparse.Namespace) -> Iterator[Row]:
    from mlflow.tracking import MlflowClient

    cells, epochs = arguments.loggers, arguments.epochs
    with own_home(), service() as address:
        os.environ["MLFLOW_TRACKING_URI"] = address
        with ProcessPoolExecutor(cells, get_context("spawn")) as pool:
            seconds = max(pool.map(partial(log, epochs=epochs), range(cells)))
        del os.environ["MLFLOW_TRACKING_URI"]
        client = MlflowClient(address)
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        runs = [run for run in client.search_runs(experiments) if "pam.cell" in run.data.tags]
        steps = [sorted(m.step for m in client.get_metric_history(run.info.run_id, "loss")) for run in runs]
    whole = sum(found == list(range(1, epochs + 1)) for found in steps)
    if whole != cells:
        sys.exit(f"of {cells} cells {whole} have every epoch once")
    database = os.environ.get("MLFLOW_BACKEND_STORE_URI", "sqlite").partition(":")[0]
    what = f"load: {cells} cells × {epochs} epochs logged to MLflow at once, {database}"
    rate = cells * epochs * 3 / seconds
    yield Row(what=what, unit="s", values=(seconds,), note=f"{rate:.0f} metrics/s; every epoch was there once")


def large(arguments: argparse.Namespace) -> Iterator[Row]:
    from mlflow.tracking import MlflowClient

    def took(what: str, seconds: float, note: str = "") -> Row:
        return Row(what=f"load: {what}", unit="s", values=(seconds,), note=note)

    with own_home() as folder:
        told = asked(folder, arguments.cells)
        study_of = f"a study of {len(told['cells']):,} finished cells"
        for words in ([], ["large"], [told["cells"][-1]["id"]]):
            name = " ".join(["pam.status", *(["STUDY"] if words == ["large"] else ["CELL"] if words else [])])
            yield took(f"{name}, {study_of}", pam("pam.status", *words))
        (path,) = home.studies().glob("*/*.json")
        mirrored = told["cells"][: arguments.mirrored]
        path.write_text(json.dumps(told | {"cells": mirrored}))
        cells = f"{len(mirrored):,} finished cells"
        with service() as address:
            os.environ["MLFLOW_TRACKING_URI"] = address
            before = processor()
            seconds, own = pam("pam.track", "sync"), processor() - before
            each = f"{seconds / len(mirrored):.3f} s a cell, of which {own / len(mirrored):.3f} s of its own processor"
            yield took(f"pam.track sync of {cells} into an empty MLflow server", seconds, each)
            yield took(f"pam.track sync of {cells}, nothing new", pam("pam.track", "sync"))
            del os.environ["MLFLOW_TRACKING_URI"]
            client = MlflowClient(address)
            experiments = [experiment.experiment_id for experiment in client.search_experiments()]
            start = time.perf_counter()
            found, token = 0, ""
            while token is not None:
                page = client.search_runs(experiments, max_results=1000, page_token=token or None)
                found, token = found + len(page), page.token
            yield took(f"MLflow asked for all {found:,} runs of a study", time.perf_counter() - start)


def jobs(arguments: argparse.Namespace) -> Iterator[Row]:
    from ray.job_submission import JobStatus, JobSubmissionClient

    count = arguments.jobs
    os.environ["RAY_AUTH_MODE"] = "disabled"
    with own_home(), service():
        address = f"http://127.0.0.1:{DASHBOARD}"
        client = JobSubmissionClient(address)
        submitted = [f"load-{number}" for number in range(count)]
        start = time.perf_counter()
        for job in submitted:
            pam("ray.scripts.scripts", "job", "submit", f"--address={address}", f"--submission-id={job}", *SUBMITTED)
        taken = time.perf_counter() - start
        ended: dict[str, JobStatus] = {}
        while len(ended) < count:
            time.sleep(0.5)
            states = {job: client.get_job_status(job) for job in submitted if job not in ended}
            ended |= {job: state for job, state in states.items() if state.is_terminal()}
        seconds = time.perf_counter() - start
    good = sum(state is JobStatus.SUCCEEDED for state in ended.values())
    if good != count:
        sys.exit(f"of {count} jobs {good} succeeded")
    what = f"load: `ray job submit` {count} times in a row, until all jobs have succeeded"
    yield Row(what=what, unit="s", values=(seconds,), note=f"submitted in {taken:.1f} s")


KINDS: dict[str, Callable[[argparse.Namespace], Iterator[Row]]] = {"logging": logging, "study": large, "jobs": jobs}


def measure(arguments: argparse.Namespace) -> Iterator[Row]:
    for kind in arguments.kinds or KINDS:
        yield from KINDS[kind](arguments)


if __name__ == "__main__":
    parser = options(__doc__, loggers=8, epochs=500, cells=2000, mirrored=2000, jobs=50)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of: {', '.join(KINDS)}; all without")
    arguments = parser.parse_args()
    if unknown := [kind for kind in arguments.kinds if kind not in KINDS]:
        parser.error(f"no kind {unknown[0]!r}; there are: {', '.join(KINDS)}")
    sys.exit(finish(__file__, measure(arguments), arguments))
