"""Exported networks in MLflow's model registry: one model per study and data set, a version per ensemble."""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import mlflow.onnx
import numpy as np
import onnx
from mlflow.entities import LoggedModel, Metric
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.tracking import MlflowClient
from mlflow.types import ColSpec, Schema, TensorSpec
from sqlalchemy.exc import SQLAlchemyError

from pam.errors import ResultsError
from pam.redact import redact
from pam.track.runs import CELL
from pam.track.where import tracking_uri

CELLS = "pam.cells"  # the tag by which a version is known again
REQUIREMENTS = ["numpy", "onnxruntime"]  # of whoever loads it through MLflow


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is to be registered. folder: an export with `graph`, an ONNX file, for images of these channels."""

    name: str
    folder: Path
    graph: str
    channels: int
    question: str
    description: str
    study: str
    dataset: str
    cells: tuple[str, ...]
    tags: Mapping[str, str]
    scores: Mapping[str, float]
    alias: str  # "": none


def name_of(study: str, dataset: str) -> str:
    """The model's name, of letters that MLflow allows in it."""
    return re.sub(r"[^\w.-]+", "-", f"{study}-{dataset}")


def register(entry: Entry) -> tuple[str, bool]:
    """The version that holds these networks, and whether it is new: the same cells are never registered twice.

    Raises `ResultsError` where MLflow fails, or does not hold the study's runs.
    """
    logging.getLogger("mlflow.store.model_registry").setLevel(logging.ERROR)
    try:
        return _register(MlflowClient(tracking_uri()), entry)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise ResultsError(
            redact(
                f"{tracking_uri()}: cannot register {entry.name!r} ({first}); mend it and register into a new folder"
            )
        ) from error


def _register(client: MlflowClient, entry: Entry) -> tuple[str, bool]:
    cells = " ".join(sorted(entry.cells))
    _create(client, entry)
    versions = client.search_model_versions(f"name = '{entry.name}'")
    version = next((one for one in versions if one.tags.get(CELLS) == cells), None)
    new = version is None
    if version is None:
        version = _add(client, entry, {**entry.tags, CELLS: cells})
    if entry.alias:
        client.set_registered_model_alias(entry.name, entry.alias, version.version)
    return str(version.version), new


def _create(client: MlflowClient, entry: Entry) -> None:
    if any(model.name == entry.name for model in client.search_registered_models(f"name = '{entry.name}'")):
        return
    tags = {"pam.study": entry.study, "pam.dataset": entry.dataset}
    description = f"**{entry.question}** The networks of the study `{entry.study}` on `{entry.dataset}`."
    client.create_registered_model(entry.name, tags=tags, description=description)


def _add(client: MlflowClient, entry: Entry, tags: Mapping[str, str]) -> ModelVersion:
    """A version whose files, scores and run can be followed from its page."""
    experiment = client.get_experiment_by_name(f"{entry.study} on {entry.dataset}")
    of_cell = f"tags.`{CELL}` = '{entry.cells[0]}'"
    runs = client.search_runs([experiment.experiment_id], of_cell) if experiment else []
    if experiment is None or not runs:
        told = f"{tracking_uri()}: no run of cell {entry.cells[0]}; run: python -m pam.track sync {entry.study}"
        raise ResultsError(redact(told))
    run_id = runs[0].data.tags["mlflow.parentRunId"]  # the variant's, over all of its cells
    logged = client.create_logged_model(
        experiment.experiment_id, name=entry.name, source_run_id=run_id, tags=dict(tags), model_type="ensemble"
    )
    with tempfile.TemporaryDirectory() as folder:
        client.log_model_artifacts(logged.model_id, str(_files(entry, logged, Path(folder) / "model")))
    now = int(time.time() * 1000)
    scores = {name: value for name, value in entry.scores.items() if name.endswith(("_mean", "_sd"))}
    step = int(entry.scores["n"])
    metrics = [Metric(name, value, now, step, model_id=logged.model_id) for name, value in scores.items()]
    client.log_batch(run_id, metrics=metrics)
    client.finalize_logged_model(logged.model_id, "READY")
    return client.create_model_version(
        entry.name,
        logged.artifact_location,  # not models:/ID, which MLflow looks up where its global setting points
        run_id=run_id,
        tags=dict(tags),
        description=entry.description,
        model_id=logged.model_id,
    )


def _files(entry: Entry, logged: LoggedModel, path: Path) -> Path:
    """The export as a model that MLflow can load: `mlflow.pyfunc.load_model("models:/NAME/VERSION")`."""
    described = Model(
        artifact_path=logged.artifact_location,
        model_uuid=logged.model_id,
        run_id=logged.source_run_id,
        model_id=logged.model_id,
    )
    images = TensorSpec(np.dtype(np.float32), (-1, entry.channels, -1, -1), "images")
    outputs: list[ColSpec | TensorSpec] = [
        TensorSpec(np.dtype(np.float32), (-1, 1, -1, -1), name) for name in ("probability", "disagreement")
    ]
    mlflow.onnx.save_model(
        onnx.load(str(entry.folder / entry.graph)),
        str(path),
        mlflow_model=described,
        signature=ModelSignature(Schema([images]), Schema(outputs)),
        pip_requirements=REQUIREMENTS,
        save_as_external_data=False,
        metadata=dict(entry.tags),
    )
    shutil.copytree(entry.folder, path / "export", ignore=shutil.ignore_patterns(entry.graph))
    return path
