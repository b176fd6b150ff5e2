"""The MLflow mirror of the ledger: a parent run per variant, a child per cell. The only module that imports mlflow.

The ledger is the truth; a mirror that could not be written is filled by the next sweep. One thread of the driver's
process writes, in synchronous batches, so that training never waits for MLflow and no epoch is logged twice.
"""

from __future__ import annotations

import json
import logging
import math
import os
import queue
import shutil
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pandas as pd
from mlflow.entities import Experiment, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from pam import cli, home, intake, ledger, protocols
from pam.errors import ResultsError
from pam.files import write_text
from pam.redact import redact
from pam.study import Cell

LOG = logging.getLogger(__name__)
STUDY_TAG = "pam.report"  # of the run that holds what a report needs besides the cells
BATCH = 1000  # MLflow's limit of metrics in one call


def tracking_uri() -> str:
    """`MLFLOW_TRACKING_URI`, else a SQLite database under PAM_HOME."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home.mlflow() / 'mlflow.db'}"


def ui_hint() -> str:
    """What to do to look at the runs: an address, or a command that works where this environment is not activated."""
    uri = redact(tracking_uri())
    beside = Path(sys.executable).with_name("mlflow")
    program = "mlflow" if shutil.which("mlflow") or not beside.exists() else str(beside)
    return uri if uri.startswith("http") else f"{program} ui --backend-store-uri {uri}"


class Mirror:
    """Writes a study's cells to MLflow while they run; every method returns at once, `close` waits for the rest.

    A failure of MLflow is logged once and remembered in `behind`; training goes on.
    """

    def __init__(self, experiment: str, tags: Mapping[str, str], cells: Sequence[Cell]) -> None:
        self.behind = ""
        self._cells = {cell.id: cell for cell in cells}
        self._runs = _Runs(experiment, tags)
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="mlflow-mirror", daemon=True)
        self._thread.start()
        self._do(self._runs.open)

    def study(self, files: Mapping[str, Path]) -> None:
        """What a report needs besides the cells: files by their names in the mirror, those that are there."""
        self._do(lambda: self._runs.study(files))

    def restart(self, cell_id: str) -> None:
        """A cell is about to be trained again: its finished run goes."""
        self._do(lambda: self._runs.drop_finished(cell_id))

    def epoch(self, cell_id: str, metrics: Mapping[str, float]) -> None:
        self._do(lambda: self._runs.epochs(self._cells[cell_id], [metrics]))

    def finished(self, cell_id: str) -> None:
        """The ledger holds the cell: MLflow is to hold it too, if it does not."""
        self._do(lambda: self._runs.finish(self._cells[cell_id]))

    def ended(self, cell_id: str, status: str) -> None:
        """A cell that failed or was interrupted: no run is left RUNNING."""
        self._do(lambda: self._runs.end(self._cells[cell_id], status))

    def close(self) -> None:
        """Write what is waiting, then the parents' aggregates; note which run holds which cell."""
        self._do(lambda: self._runs.aggregate(list(self._cells.values())))
        self._do(self._runs.note)
        self._tasks.put(None)
        self._thread.join()

    def _do(self, task: Callable[[], None]) -> None:
        self._tasks.put(task)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            if self.behind:
                continue
            try:
                task()
            except (MlflowException, OSError) as error:
                self.behind = redact(f"{tracking_uri()}: {error}").splitlines()[0]
                LOG.warning("MLflow is behind (%s); the next sweep fills it from the ledger", self.behind)


class _Runs:
    """The runs of one experiment, found by tags, so that a cell never has two."""

    def __init__(self, experiment: str, tags: Mapping[str, str]) -> None:
        self._experiment_name = experiment
        self._tags = dict(tags)
        self._by_cell: dict[str, Run] = {}
        self._parents: dict[str, str] = {}
        self._logged: dict[str, int] = {}  # cell id → last epoch in MLflow

    def open(self) -> None:
        """Connect, creating store and experiment if need be, and find the runs that are there."""
        for chatty in ("alembic", "mlflow.store.db.utils", "mlflow.tracking.fluent"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # two lines per run of a server
        if tracking_uri().startswith("sqlite:"):
            home.mlflow().mkdir(parents=True, exist_ok=True)
        self._client = MlflowClient(tracking_uri())
        self._experiment = self._find_or_create_experiment()
        for run in _all_runs(self._client, self._experiment):
            if cell := run.data.tags.get("pam.cell"):
                self._by_cell[cell] = run
            elif variant := run.data.tags.get("pam.variant"):
                self._parents[variant] = run.info.run_id

    def _find_or_create_experiment(self) -> str:
        found: Experiment | None = self._client.get_experiment_by_name(self._experiment_name)
        if found is not None:
            return found.experiment_id
        artifacts = None
        if tracking_uri().startswith("sqlite:"):
            artifacts = (home.mlflow() / "artifacts" / self._experiment_name).as_uri()
        shown = {
            "mlflow.note.content": f"{self._tags['pam.question']}\n\nData: {self._tags['pam.dataset']}",
            "mlflow.experimentKind": "custom_model_development",  # else the UI opens on its page for language models
        }
        tags = self._tags | shown
        return self._client.create_experiment(self._experiment_name, artifact_location=artifacts, tags=tags)

    def study(self, files: Mapping[str, Path]) -> None:
        """The study's own run, with the files as its artifacts; what is there is replaced."""
        run_id = _study_run(self._client, self._experiment)
        if run_id is None:
            tags = {**self._tags, STUDY_TAG: self._tags["pam.study"]}
            run_id = self._client.create_run(self._experiment, run_name="the study", tags=tags).info.run_id
        with tempfile.TemporaryDirectory() as folder:
            for name, path in files.items():
                if path.is_file():
                    self._client.log_artifact(run_id, shutil.copy(path, Path(folder) / name))
        self._client.set_terminated(run_id, "FINISHED")

    def note(self) -> None:
        """Write beside the ledger which run holds which cell, for reports."""
        finished = {cell: run.info.run_id for cell, run in self._by_cell.items() if run.info.status == "FINISHED"}
        study, _, dataset = self._experiment_name.partition(" on ")
        write_text(home.runs() / study / f"{dataset}.json", json.dumps(dict(sorted(finished.items())), indent=1))

    def epochs(self, cell: Cell, epochs: Sequence[Mapping[str, float]]) -> None:
        """Log the epochs that MLflow lacks, as steps."""
        run_id = self._running(cell)
        if cell.id not in self._logged:
            history = self._client.get_metric_history(run_id, "loss")
            self._logged[cell.id] = max((metric.step for metric in history), default=0)
        new = [epoch for epoch in epochs if epoch["epoch"] > self._logged[cell.id]]
        now = _milliseconds()
        metrics = [
            Metric(name, float(epoch[name]), now, int(epoch["epoch"]))
            for epoch in new
            for name in ("loss", "learning_rate", "seconds", "validation_dice")
            if math.isfinite(epoch.get(name, math.nan))
        ]
        for start in range(0, len(metrics), BATCH):
            self._client.log_batch(run_id, metrics=metrics[start : start + BATCH])
        if new:
            self._logged[cell.id] = int(new[-1]["epoch"])

    def finish(self, cell: Cell) -> None:
        """Log all that the ledger holds of the cell and end its run; nothing if that was done before."""
        if self._status(cell.id) == "FINISHED":
            return
        entry = ledger.read(cell.id)
        run_id = self._running(cell)
        self.epochs(cell, cast("list[dict[str, float]]", entry.epochs.to_dict("records")))
        summary = summarise(entry)
        now, step = _milliseconds(), len(entry.epochs)
        metrics = [Metric(name, value, now, step) for name, value in summary.items() if math.isfinite(value)]
        tags = [RunTag(f"pam.{name}", str(value)) for name, value in _flat(entry.provenance).items()]
        self._client.log_batch(run_id, metrics=metrics, tags=tags)
        for file in sorted(ledger.folder(cell.id).iterdir()):
            self._client.log_artifact(run_id, str(file))
        self._terminate(cell.id, "FINISHED")

    def end(self, cell: Cell, status: str) -> None:
        if self._status(cell.id) == "RUNNING":
            self._terminate(cell.id, status)

    def drop_finished(self, cell_id: str) -> None:
        if self._status(cell_id) == "FINISHED":
            self._client.delete_run(self._by_cell.pop(cell_id).info.run_id)
            self._logged.pop(cell_id, None)

    def aggregate(self, cells: Sequence[Cell]) -> None:
        """Mean, SD and n over the finished cells of each variant, on its parent run."""
        by_variant: dict[str, list[Cell]] = defaultdict(list)
        for cell in cells:
            if ledger.has(cell.id):
                by_variant[cell.variant_id].append(cell)
        for finished in by_variant.values():
            parent = self._parent(finished[0])
            values = pd.DataFrame([summarise(ledger.read(cell.id)) for cell in finished])
            now = _milliseconds()
            metrics = [Metric("cells", len(values), now, len(values))]
            for suffix, column in (("mean", values.mean()), ("sd", values.std(ddof=1))):
                metrics += [
                    Metric(f"{name}_{suffix}", value, now, len(values))
                    for name, value in column.items()
                    if math.isfinite(value)
                ]
            self._client.log_batch(parent, metrics=metrics)
            self._client.set_terminated(parent, "FINISHED")

    def _running(self, cell: Cell) -> str:
        """The id of the cell's run, in state RUNNING."""
        if cell.id not in self._by_cell:
            run = self._client.create_run(
                self._experiment,
                run_name=f"{cell.label} fold {cell.fold} seed {cell.seed}",
                tags={**self._tags, "pam.cell": cell.id, "mlflow.parentRunId": self._parent(cell)},
            )
            params = {"network": cell.network, **cell.options, **cell.recipe, "fold": cell.fold, "seed": cell.seed}
            self._client.log_batch(run.info.run_id, params=[Param(k, str(v)) for k, v in params.items()])
            self._by_cell[cell.id] = run
        elif self._status(cell.id) != "RUNNING":
            self._client.update_run(self._by_cell[cell.id].info.run_id, status="RUNNING")
            self._refresh(cell.id)
        return str(self._by_cell[cell.id].info.run_id)

    def _parent(self, cell: Cell) -> str:
        if cell.variant_id not in self._parents:
            tags = {**self._tags, "pam.variant": cell.variant_id}
            run = self._client.create_run(self._experiment, run_name=cell.label, tags=tags)
            params = {"network": cell.network, **cell.options, **cell.recipe}
            self._client.log_batch(run.info.run_id, params=[Param(k, str(v)) for k, v in params.items()])
            self._parents[cell.variant_id] = run.info.run_id
        return self._parents[cell.variant_id]

    def _status(self, cell_id: str) -> str | None:
        return self._by_cell[cell_id].info.status if cell_id in self._by_cell else None

    def _terminate(self, cell_id: str, status: str) -> None:
        self._client.set_terminated(self._by_cell[cell_id].info.run_id, status)
        self._refresh(cell_id)

    def _refresh(self, cell_id: str) -> None:
        self._by_cell[cell_id] = self._client.get_run(self._by_cell[cell_id].info.run_id)


class Reader:
    """What a tracking server holds of a study. Its methods raise `ResultsError` where the server fails."""

    def __init__(self, uri: str) -> None:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # MLflow's 7 wait for minutes
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        self.uri = uri
        with self._told():
            self._client = MlflowClient(uri)

    def experiments(self, study: str) -> list[str]:
        """Ids of the experiments that hold the study on some data set."""
        with self._told():
            found = self._client.search_experiments(filter_string=f"tags.`pam.study` = '{study}'")
            return [experiment.experiment_id for experiment in found]

    def study_files(self, experiment: str, folder: Path) -> Path | None:
        """Download the files of the study's own run into the folder; None if it has none."""
        with self._told():
            run = _study_run(self._client, experiment)
        if run is not None:
            self.download(run, folder)
        return folder if run is not None else None

    def finished_cells(self, experiment: str) -> dict[str, str]:
        """Cell → the run that holds it."""
        with self._told():
            runs = list(_all_runs(self._client, experiment))
        cells = {run.data.tags["pam.cell"]: run for run in runs if "pam.cell" in run.data.tags}
        return {cell: run.info.run_id for cell, run in sorted(cells.items()) if run.info.status == "FINISHED"}

    def download(self, run: str, folder: Path) -> None:
        """All of a run's artifacts, into the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        with self._told():
            self._client.download_artifacts(run, "", str(folder))

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (MlflowException, OSError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise ResultsError(
                f"{self.uri}: {first}; is this MLflow's address, and can this machine reach it?"
            ) from error


def _study_run(client: MlflowClient, experiment: str) -> str | None:
    """The run that holds what a report needs besides the cells."""
    found = client.search_runs([experiment], f"tags.`{STUDY_TAG}` != ''", max_results=1)
    return str(found[0].info.run_id) if found else None


def _all_runs(client: MlflowClient, experiment: str) -> Iterator[Run]:
    token = None
    while True:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def summarise(entry: ledger.Entry) -> dict[str, float]:
    """A cell's scores in the `paper` protocol, its mean Dice per patient, and how many slices were left out and why."""
    slices, cases = (table.assign(cell_id=entry.cell["id"]) for table in (entry.slices, entry.cases))
    columns = (*protocols.paper(slices).iloc[0].items(), *protocols.patient_dice(cases).iloc[0].items())
    return {str(name): float(value) for name, value in columns}


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def _milliseconds() -> int:
    return int(time.time() * 1000)


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m pam.track import PATH …`: results trained elsewhere, into the ledger."""
    parser = cli.Parser(prog="python -m pam.track", description="Bring results to the ledger and to MLflow.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    take = commands.add_parser("import", description="Take results trained elsewhere into the ledger, checked by hash.")
    take.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="carried files or folders of them")
    taken = intake.take(parser.parse_args(argv).paths)
    print(f"{len(taken.added)} cells taken into {home.ledger()}, {len(taken.there)} were there already")
    print("the study's next sweep brings them to MLflow and to its reports")
    return 0


if __name__ == "__main__":
    cli.run(main)
