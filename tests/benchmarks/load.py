"""What the service bears: cells that log at once, a study of thousands of cells, jobs submitted in a row.

    python tests/benchmarks/load.py logging [--cells 8] [--epochs 500]      # on SQLite; on PostgreSQL:
    tests/cluster/with_postgres.sh python tests/benchmarks/load.py logging
    python tests/benchmarks/load.py study [--cells 2000] [--mirrored 200]
    python tests/benchmarks/load.py jobs [--jobs 50]

`logging`: a mirror (`pam.track.Mirror`) per cell, each in a process of its own as sweeps have them, all against the
service's MLflow server; exits 1 unless every epoch is there once. `study`: a finished study is synthesised and
`pam.status` asked for it; the first `mirrored` cells are written to MLflow, which then is asked for all of its runs.
`jobs`: jobs submitted to the service by a client that does not wait for them; exits 1 unless all succeed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from report_scale import FOLDS, SEEDS, STUDY, synthesise

from pam import home, manifest, study
from pam.cells import describe

RAY, DASHBOARD, MLFLOW = 16379, 18265, 15000  # ports of the service that is measured
PATIENTS, SLICES = 2, 5  # of a synthetic cell's test fold


def pam(module: str, *words: str) -> float:
    """Seconds that a command takes."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", module, *words], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


@contextmanager
def service() -> Iterator[str]:
    """A service under a PAM_HOME of its own; its MLflow server's address."""
    with tempfile.TemporaryDirectory(prefix="pam-load-") as folder:
        os.environ["PAM_HOME"] = folder
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


def logging(cells: int, epochs: int) -> int:
    from mlflow.tracking import MlflowClient

    with service() as address:
        os.environ["MLFLOW_TRACKING_URI"] = address
        with ProcessPoolExecutor(cells, get_context("spawn")) as pool:
            seconds = list(pool.map(partial(log, epochs=epochs), range(cells)))
        client = MlflowClient(address)
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        runs = [run for run in client.search_runs(experiments) if "pam.cell" in run.data.tags]
        steps = [sorted(m.step for m in client.get_metric_history(run.info.run_id, "loss")) for run in runs]
    whole = sum(found == list(range(1, epochs + 1)) for found in steps)
    database = os.environ.get("MLFLOW_BACKEND_STORE_URI", "sqlite").partition(":")[0]
    rate = cells * epochs * 3 / max(seconds)
    print(
        f"{database}: {cells} cells of {epochs} epochs in {max(seconds):.1f} s, {rate:.0f} metrics/s; {whole} are whole"
    )
    return 0 if whole == cells else 1


def large(cells: int, mirrored: int) -> int:
    from mlflow.tracking import MlflowClient

    with tempfile.TemporaryDirectory(prefix="pam-load-") as folder:
        os.environ["PAM_HOME"] = folder
        told = asked(Path(folder), cells)
        count = len(told["cells"])
        print(f"pam.status          {count} cells: {pam('pam.status'):.2f} s")
        print(f"pam.status STUDY    {count} cells: {pam('pam.status', 'large'):.2f} s")
        print(f"pam.status CELL     {count} cells: {pam('pam.status', told['cells'][-1]['id']):.2f} s")
        (path,) = home.studies().glob("*/*.json")
        path.write_text(json.dumps(told | {"cells": told["cells"][:mirrored]}))
        print(f"pam.track sync      {mirrored} cells: {pam('pam.track', 'sync') / mirrored:.3f} s each", flush=True)
        print(f"pam.track sync      {mirrored} cells, nothing new: {pam('pam.track', 'sync'):.2f} s")
        client = MlflowClient(f"sqlite:///{home.mlflow() / 'mlflow.db'}")
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        start = time.perf_counter()
        found, token = 0, ""
        while token is not None:
            page = client.search_runs(experiments, max_results=1000, page_token=token or None)
            found, token = found + len(page), page.token
        print(f"MLflow, all runs    {found} runs: {time.perf_counter() - start:.2f} s")
    return 0


def jobs(count: int) -> int:
    from ray.job_submission import JobStatus, JobSubmissionClient

    os.environ["RAY_AUTH_MODE"] = "disabled"
    with service():
        client = JobSubmissionClient(f"http://127.0.0.1:{DASHBOARD}")
        start = time.perf_counter()
        submitted = [client.submit_job(entrypoint="python -m pam.status") for _ in range(count)]
        taken = time.perf_counter() - start
        ended: dict[str, JobStatus] = {}
        while len(ended) < count:
            time.sleep(0.5)
            states = {job: client.get_job_status(job) for job in submitted if job not in ended}
            ended |= {job: state for job, state in states.items() if state.is_terminal()}
        seconds = time.perf_counter() - start
    good = sum(state is JobStatus.SUCCEEDED for state in ended.values())
    print(f"{count} jobs submitted in {taken:.1f} s; {good} had succeeded after {seconds:.1f} s")
    return 0 if good == count else 1


def main() -> int:
    parser = argparse.ArgumentParser()
    kinds = parser.add_subparsers(dest="kind", required=True)
    by_kind = {"logging": {"cells": 8, "epochs": 500}, "study": {"cells": 2000, "mirrored": 200}, "jobs": {"jobs": 50}}
    for kind, options in by_kind.items():
        made = kinds.add_parser(kind)
        for name, default in options.items():
            made.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    if arguments.kind == "logging":
        return logging(arguments.cells, arguments.epochs)
    return large(arguments.cells, arguments.mirrored) if arguments.kind == "study" else jobs(arguments.jobs)


if __name__ == "__main__":
    sys.exit(main())
