"""The runs of one experiment, found by tags, so that a cell never has two; what of them is written when."""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, cast

# Read by MLflow when it calls a server: a lost one is noticed soon, and tried again by `Mirror` at its own pace.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # two lines per run of a server

from mlflow.entities import Dataset, DatasetInput, Experiment, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SQLAlchemyError

from pam import cell_log, checkpoints, failures, files, home, leases, ledger, manifest, views
from pam.files import write_text
from pam.study import Cell
from pam.track import shown
from pam.track.where import tracking_uri
from pam.views import View

AWAY = (MlflowException, SQLAlchemyError, OSError)  # what a store raises that is away, full or not ours to write
BATCH = 1000  # MLflow's limit of metrics in one call
TAG_LENGTH = 5000  # of MLflow's limit of 8,000
Metrics = dict[str, float]
OUTCOME = "pam.outcome"  # finished, failed or diverged
FAILED_TAGS = ("pam.reason", "pam.failed_in_epoch", "pam.failed_at")
CELL, VARIANT, STUDY = "pam.cell", "pam.variant", "pam.report"  # the tags that runs are found by
LEDGER = "ledger"  # the folder of a cell's entry among its run's artifacts
FAILURE = "failure"  # the folder of a failure's record there
LEASES = "mlflow-"  # how the names of leases on parts of MLflow begin


class Runs:
    """The experiment of a study on a data set. Every method may be called again after it raised one of `AWAY`."""

    def __init__(self, asked: Mapping[str, Any]) -> None:
        self._manifest = asked
        self._cells = {str(cell["id"]): _cell(cell) for cell in asked["cells"]}
        self._tags = {
            "pam.study": asked["study"],
            "pam.dataset": asked["dataset"],
            "pam.data_hash": asked["data_hash"],
            "pam.phantom": str(asked["phantom"]),
            "pam.demo": str(asked["demo"]),
        }
        self._experiment = ""
        self._runs: dict[tuple[str, str], Run] = {}  # (tag, its value) → run
        self._logged: dict[str, set[int]] = {}  # cell → epochs in MLflow
        self._views: dict[str, View] | None = None
        self._watch = leases.Watch()

    def open(self) -> None:
        """Connect, creating store and experiment if need be, and find the runs that are there; once."""
        if self._experiment:
            return
        for chatty in ("alembic", "mlflow.store.db.utils", "mlflow.tracking.fluent", "urllib3.connectionpool"):
            logging.getLogger(chatty).setLevel(logging.ERROR)
        with self._alone("experiment"):  # two that create one SQLite database at a time spoil it
            if tracking_uri().startswith("sqlite:///"):
                _make_database(Path(tracking_uri().removeprefix("sqlite:///")))
            self._client = MlflowClient(tracking_uri())
            experiment = self._find_or_create_experiment()
        self._runs = {key: run for run in every_run(self._client, experiment) if (key := _key(run))}
        self._experiment = experiment

    def _find_or_create_experiment(self) -> str:
        name = f"{self._manifest['study']} on {self._manifest['dataset']}"
        found: Experiment | None = self._client.get_experiment_by_name(name)
        if found is not None:
            if found.lifecycle_stage == "deleted":
                self._client.restore_experiment(found.experiment_id)
            return str(found.experiment_id)
        artifacts = None
        if tracking_uri().startswith("sqlite:"):
            artifacts = (home.mlflow() / "artifacts" / name).as_uri()
        tags = {
            **self._tags,
            "pam.question": self._manifest["question"],
            "mlflow.note.content": shown.study_note(self._manifest, {})[:TAG_LENGTH],
            "mlflow.experimentKind": "custom_model_development",  # else the UI opens on its page for language models
        }
        return str(self._client.create_experiment(name, artifact_location=artifacts, tags=tags))

    def epochs(self, cell_id: str, epochs: Sequence[Mapping[str, Any]]) -> None:
        """Log the epochs that MLflow lacks, as steps."""
        run_id = self._running(cell_id)
        if cell_id not in self._logged:
            history = self._client.get_metric_history(run_id, "loss")
            self._logged[cell_id] = {metric.step for metric in history}
        # Not all after the last: what a driver was told and could not pass on before it was killed is missing.
        new = [epoch for epoch in epochs if int(epoch["epoch"]) not in self._logged[cell_id]]
        self._log(run_id, new, shown.learning_curve)
        self._logged[cell_id] |= {int(epoch["epoch"]) for epoch in new}

    def _log(
        self, run_id: str, epochs: Sequence[Mapping[str, Any]], metrics_of: Callable[[Mapping[str, Any]], Metrics]
    ) -> None:
        now = _milliseconds()
        metrics = [
            Metric(name, value, now, int(epoch["epoch"]))
            for epoch in epochs
            for name, value in metrics_of(epoch).items()
            if math.isfinite(value)
        ]
        for start in range(0, len(metrics), BATCH):
            self._client.log_batch(run_id, metrics=metrics[start : start + BATCH])

    def has(self, cell_id: str) -> bool:
        """Whether the cell has a run."""
        return (CELL, cell_id) in self._runs

    def refresh(self, cell_id: str) -> None:
        """Bring the cell's run to what ledger and failures hold."""
        run = self._runs.get((CELL, cell_id))
        status = run.info.status if run else ""
        if ledger.has(cell_id):
            if status != "FINISHED":
                with self._alone(cell_id):
                    self._finish(cell_id)
        elif (failure := failures.read(cell_id)) is not None:
            if run is None or run.data.tags.get(FAILED_TAGS[-1]) != failure.when:
                with self._alone(cell_id):
                    self._fail(cell_id, failure)
        elif run and status == "FINISHED":  # its entry is gone: it is to be trained again
            self._client.delete_run(run.info.run_id)
            del self._runs[CELL, cell_id]
            self._logged.pop(cell_id, None)
        elif status == "RUNNING" and not self._watch.holder(cell_id):  # its driver was killed
            self.interrupt(cell_id)

    def interrupt(self, cell_id: str) -> None:
        """No run of a cell that nobody trains is left RUNNING."""
        if self._runs[CELL, cell_id].info.status == "RUNNING":
            self._read_again(CELL, cell_id)  # another process may have ended it
        if self._runs[CELL, cell_id].info.status == "RUNNING":
            self._end(CELL, cell_id, "KILLED")

    def end_orphans(self) -> None:
        """As `interrupt`, for all cells of the experiment, those that the study no longer asks for too.

        And no lease is left of a driver that was killed as it wrote to MLflow.
        """
        self._watch.clear(LEASES)
        for tag, cell_id in list(self._runs):
            if tag == CELL and not self._watch.holder(cell_id):
                self.interrupt(cell_id)

    def aggregate(self) -> None:
        """Mean, SD and n over each variant's finished cells: on its parent run, and in the experiment's description."""
        rows: dict[str, Metrics] = {}
        by_variant: dict[str, list[str]] = defaultdict(list)
        for cell_id, cell in self._cells.items():
            by_variant[cell.variant_id].append(cell_id)
        for variant, members in by_variant.items():
            finished = [cell_id for cell_id in members if ledger.has(cell_id)]
            if not finished and (VARIANT, variant) not in self._runs:
                continue
            run_id = self._parent(self._cells[members[0]])
            parent = self._runs[VARIANT, variant]
            found = shown.aggregate(self._summary(cell_id) for cell_id in finished) if finished else {"n": 0.0}
            now = _milliseconds()
            rows[self._cells[members[0]].label] = found
            new = {name: value for name, value in found.items() if parent.data.metrics.get(name) != value}
            note = shown.variant_note(len(finished), len(members), found, phantom=self._manifest["phantom"])
            if new or parent.data.tags.get("mlflow.note.content") != note:
                metrics = [Metric(name, value, now, len(finished)) for name, value in new.items()]
                self._client.log_batch(run_id, metrics=metrics, tags=[RunTag("mlflow.note.content", note)])
            if new or parent.info.status != "FINISHED":
                self._end(VARIANT, variant, "FINISHED")
        note = shown.study_note(self._manifest, rows)[:TAG_LENGTH]
        if self._client.get_experiment(self._experiment).tags.get("mlflow.note.content") != note:
            self._client.set_experiment_tag(self._experiment, "mlflow.note.content", note)

    def study(self) -> None:
        """The study's own run: what a report needs besides the cells, as its artifacts; what is there is replaced."""
        study, dataset = str(self._manifest["study"]), str(self._manifest["dataset"])
        view = views.path_of(self._manifest["data_hash"])
        shown_files = {manifest.FILE: manifest.path_of(study, dataset), view.name: view}
        with self._alone("study"):
            if (STUDY, study) not in self._runs:
                tags = {**self._tags, STUDY: study, "mlflow.note.content": shown.STUDY_RUN_NOTE}
                found = next(every_run(self._client, self._experiment, f"tags.`{STUDY}` = '{study}'"), None)
                run = found or self._client.create_run(self._experiment, run_name="the study", tags=tags)
                self._runs[STUDY, study] = run
            run_id = self._runs[STUDY, study].info.run_id
            with tempfile.TemporaryDirectory() as folder:
                for name, path in shown_files.items():
                    if files.exists(path):
                        self._client.log_artifact(run_id, shutil.copy(files.here(path), Path(folder) / name))
            self._end(STUDY, study, "FINISHED")

    def note(self) -> None:
        """Write down which run holds which cell that has ended: reports and `pam.status` name them."""
        known = {cell_id: self._runs[CELL, cell_id].info for cell_id in self._cells if self.has(cell_id)}
        found = {cell_id: info.run_id for cell_id, info in known.items() if info.status in ("FINISHED", "FAILED")}
        path = home.runs_of(self._manifest["study"], self._manifest["dataset"])
        write_text(path, json.dumps(found, indent=1, sort_keys=True))

    def _finish(self, cell_id: str) -> None:
        """Log all that the ledger holds of the cell and end its run; nothing if another process did so meanwhile."""
        entry = ledger.read(cell_id)
        run_id = self._running(cell_id, _milliseconds(datetime.fromisoformat(entry.provenance["started"])))
        run = self._client.get_run(run_id)
        ended = run.info.start_time + round(1000 * entry.provenance["train_seconds"])  # a duration is the training's
        if run.data.tags.get(OUTCOME) == "finished":
            self._end(CELL, cell_id, "FINISHED", ended)
            return
        self._logged.pop(cell_id, None)  # another process may have logged since
        epochs = cast("list[dict[str, Any]]", entry.epochs.to_dict("records"))
        self.epochs(cell_id, epochs)
        if not any(name.startswith("system/") for name in run.data.metrics):
            self._log(run_id, epochs, shown.usage)
        now, step = _milliseconds(), len(entry.epochs)
        found = {name: value for name, value in shown.summarise(entry).items() if math.isfinite(value)}
        metrics = [Metric(name, value, now, step) for name, value in found.items() if name not in run.data.metrics]
        told = {f"pam.{name}": str(value) for name, value in shown.flat(entry.provenance).items()}
        self._artifacts(cell_id, run_id, entry)
        told |= {name: "" for name in FAILED_TAGS if name in run.data.tags}  # it failed before
        note = shown.cell_note(self._cells[cell_id], entry, phantom=self._manifest["phantom"])
        told |= {OUTCOME: "finished", "mlflow.note.content": note}
        self._client.log_batch(run_id, metrics=metrics, tags=_tags(told))
        self._end(CELL, cell_id, "FINISHED", ended)

    def _artifacts(self, cell_id: str, run_id: str, entry: ledger.Entry) -> None:
        """Configuration, the ledger's files, log, overlays of some test cases, and the weights where they are kept.

        All of them in one call: each asks the server for the run.
        """
        configuration = json.dumps(shown.configuration(self._cells[cell_id]), indent=1, ensure_ascii=False)
        if self._views is None:
            self._views = views.read(self._manifest["data_hash"])
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "configuration.json").write_text(configuration, encoding="utf-8")
            for file, image in shown.overlays(entry, self._views):
                (folder / "overlays").mkdir(exist_ok=True)
                image.save(folder / "overlays" / file, compress_level=1)  # as small, in a fifth of the default's time
            kept = {"log": cell_log.path_of(cell_id), "model": checkpoints.weights_path(cell_id)}
            whole = [(kind, files.here(path)) for kind, path in kept.items() if files.exists(path)]
            for kind, path in [(LEDGER, path) for path in ledger.here(cell_id).iterdir()] + whole:
                (folder / kind).mkdir(exist_ok=True)
                (folder / kind / path.name).symlink_to(path)  # not a copy: weights are large
            self._client.log_artifacts(run_id, str(folder))

    def _fail(self, cell_id: str, failure: failures.Failure) -> None:
        """End the cell's run as FAILED, with what is known of why."""
        run_id = self._running(cell_id)
        told = {
            OUTCOME: failure.kind,
            **dict(zip(FAILED_TAGS, (failure.message, str(failure.epoch), failure.when), strict=True)),
            "mlflow.note.content": f"**{failure.summary}**\n\n"
            + "".join(f"    {line}\n" for line in failure.traceback.splitlines()),
        }
        self._client.log_artifact(run_id, str(files.here(failures.path_of(cell_id))), FAILURE)
        if files.exists(log := cell_log.path_of(cell_id)):
            self._client.log_artifact(run_id, str(files.here(log)), "log")
        self._client.log_batch(run_id, tags=_tags(told))
        self._end(CELL, cell_id, "FAILED")

    def _running(self, cell_id: str, began: int | None = None) -> str:
        """The id of the cell's run, in state RUNNING. `began`: when a new one started, in ms; now if None."""
        cell = self._cells[cell_id]
        if not self._whole(CELL, cell_id):
            tags = {"mlflow.parentRunId": self._parent(cell)}
            self._find_or_create(CELL, cell_id, cell, tags, began)
        run = self._runs[CELL, cell_id]
        if run.info.status != "RUNNING":
            self._client.update_run(run.info.run_id, status="RUNNING")
            self._read_again(CELL, cell_id)
        return str(run.info.run_id)

    def _parent(self, cell: Cell) -> str:
        if not self._whole(VARIANT, cell.variant_id):
            self._find_or_create(VARIANT, cell.variant_id, cell, {})
        return str(self._runs[VARIANT, cell.variant_id].info.run_id)

    def _whole(self, tag: str, value: str) -> bool:
        """Whether there is a run with all that it is made with: its parameters come last."""
        return (tag, value) in self._runs and bool(self._runs[tag, value].data.params)

    def _find_or_create(
        self, tag: str, value: str, cell: Cell, tags: Mapping[str, str], began: int | None = None
    ) -> None:
        """The run that holds the tag, completed if its making was interrupted; if there is none, a new one.

        Of two processes only one creates it.
        """
        with self._alone(f"run-{value}"):
            found = next(every_run(self._client, self._experiment, f"tags.`{tag}` = '{value}'"), None)
            if found is None:
                name = shown.run_name(cell) if tag == CELL else cell.label
                found = self._client.create_run(
                    self._experiment, began, run_name=name, tags={**self._tags, **tags, tag: value}
                )
            if not found.data.params:
                params = shown.parameters(cell)
                if tag == CELL:
                    params |= {"fold": str(cell.fold), "seed": str(cell.seed)}
                run_id = found.info.run_id
                data = Dataset(self._manifest["dataset"], cell.data_hash[:16], "pam", cell.data_hash)
                self._client.log_inputs(run_id, [DatasetInput(data)])
                self._client.log_batch(run_id, params=[Param(key, text) for key, text in params.items()])
            self._runs[tag, value] = found
            self._read_again(tag, value)

    def _end(self, tag: str, value: str, status: str, ended: int | None = None) -> None:
        self._client.set_terminated(self._runs[tag, value].info.run_id, status, ended)
        self._read_again(tag, value)

    def _read_again(self, tag: str, value: str) -> None:
        self._runs[tag, value] = self._client.get_run(self._runs[tag, value].info.run_id)

    def _summary(self, cell_id: str) -> dict[str, float]:
        return shown.summarise(ledger.read(cell_id))

    @contextmanager
    def _alone(self, what: str) -> Iterator[None]:
        """Keep other processes from the same part of MLflow meanwhile."""
        with self._watch.wait(f"{LEASES}{what}"):
            yield


def _make_database(path: Path) -> None:
    """An empty database, there whole or not at all: MLflow can never open one whose making was interrupted."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    for rest in (partial, partial.with_name(f"{partial.name}-journal")):  # of one that was interrupted
        rest.unlink(missing_ok=True)
    SqlAlchemyStore(f"sqlite:///{partial}", str(home.mlflow() / "artifacts")).engine.dispose()
    partial.replace(path)


def every_run(client: MlflowClient, experiment: str, filter_string: str = "") -> Iterator[Run]:
    token = None
    while True:
        page = client.search_runs([experiment], filter_string, max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _cell(described: Mapping[str, Any]) -> Cell:
    return Cell(**{name: value for name, value in described.items() if name != "id"})


def _key(run: Run) -> tuple[str, str] | None:
    return next(((tag, run.data.tags[tag]) for tag in (CELL, VARIANT, STUDY) if tag in run.data.tags), None)


def _tags(values: Mapping[str, str]) -> list[RunTag]:
    return [RunTag(name, value[:TAG_LENGTH]) for name, value in values.items()]


def _milliseconds(when: datetime | None = None) -> int:
    """As MLflow counts time; now if no other is given."""
    return int((time.time() if when is None else when.timestamp()) * 1000)
