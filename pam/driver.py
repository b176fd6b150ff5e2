"""One sweep: plan the study's cells, leave out what the ledger holds, schedule the rest, mirror and record it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pam import ledger, manifest, provenance, schedule, views
from pam.data.folds import Split
from pam.data.prepare import prepare
from pam.data.store import Store, find
from pam.datasets import DATASETS
from pam.plan import apply_settings, check, plan
from pam.progress import SweepProgress
from pam.study import Cell, Study
from pam.track import Mirror, summarise

# The demo's smaller study: enough folds for error bars, small enough to wait for.
DEMO_DATASET, DEMO_FOLDS, DEMO_SEEDS = "phantom", 3, 1
DEMO_SETTINGS = {"width": 8}


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a sweep was asked to do."""

    study: Study
    dataset: str | None = None  # another than the study's
    folds: Iterable[int] | None = None
    seeds: Iterable[int] | None = None
    only: Iterable[str] | None = None  # rows, see `Study.cells`
    settings: Mapping[str, Any] = field(default_factory=dict)
    demo: bool = False
    address: str | None = None
    cpus: int = 1
    gpus: float | None = None  # None: one where the cluster has any


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a sweep ended, in cells."""

    study: str
    data: str
    asked: int
    found: int  # in the ledger before
    finished: int
    failed: Mapping[str, str]  # "label, fold, seed" → error text
    mirror_behind: str  # why MLflow lacks something, or ""

    @property
    def interrupted(self) -> int:
        return self.asked - self.found - self.finished - len(self.failed)


def sweep(request: Request) -> Outcome:
    """Train what the ledger lacks of the cells asked for; raises `PamError` before anything starts if it cannot."""
    request = _resolve(request)
    study = request.study
    store = _store(study.dataset)
    planned = plan(study, store, folds=request.folds, seeds=request.seeds, only=request.only)
    missing = [(cell, split) for cell, split in planned if not ledger.has(cell.id)]
    asked = [cell for cell, _ in planned]
    declared = [cell for cell, _ in plan(study, store)]
    manifest.write(study, store, asked, declared, request.settings, demo=request.demo)
    views.write(store)
    mirror = Mirror(f"{study.name} on {store.dataset}", _tags(store, request), asked)
    for cell in asked:
        (mirror.finished if ledger.has(cell.id) else mirror.restart)(cell.id)
    errors: dict[str, str] = {}
    try:
        if missing:
            errors = _train(missing, store, request, mirror)
    finally:
        for cell, _ in missing:
            if not ledger.has(cell.id):
                mirror.ended(cell.id, "FAILED" if cell.id in errors else "KILLED")
        mirror.close()
    return Outcome(
        study=study.name,
        data=store.label,
        asked=len(asked),
        found=len(asked) - len(missing),
        finished=sum(ledger.has(cell.id) for cell, _ in missing),
        failed={describe(cell): errors[cell.id] for cell in asked if cell.id in errors},
        mirror_behind=mirror.behind,
    )


def _resolve(request: Request) -> Request:
    """The request with its demo, data set and settings applied to the study, and all of the study's names checked."""
    study, settings = request.study, dict(request.settings)
    if request.demo:
        study = replace(study, dataset=DEMO_DATASET, folds=DEMO_FOLDS, seeds=DEMO_SEEDS)
        settings = DEMO_SETTINGS | settings
    if request.dataset:
        study = replace(study, dataset=request.dataset)
    study = apply_settings(study, settings)
    check(study)
    schedule.Resources(cpus=request.cpus, gpus=request.gpus or 0)
    return replace(request, study=study, settings=settings)


def _store(name: str) -> Store:
    """The data set's newest store; a phantom's is made if need be."""
    dataset = DATASETS.build(name)
    return prepare(dataset, None) if dataset.phantom else find(name)


def describe(cell: Cell) -> str:
    return f"{cell.label}, fold {cell.fold}, seed {cell.seed}"


def _train(missing: list[tuple[Cell, Split]], store: Store, request: Request, mirror: Mirror) -> dict[str, str]:
    with schedule.cluster(request.address):
        gpus = schedule.default_gpus() if request.gpus is None else request.gpus
        resources = schedule.Resources(cpus=request.cpus, gpus=gpus)
        with SweepProgress({cell.id: cell for cell, _ in missing}) as progress:
            return schedule.run(
                missing,
                store,
                resources=resources,
                provenance=provenance.collect(),
                listener=_Listener(progress, mirror),
            )


def _tags(store: Store, request: Request) -> dict[str, str]:
    return {
        "pam.study": request.study.name,
        "pam.question": request.study.question,
        "pam.dataset": store.label,
        "pam.data_hash": store.hash,
        "pam.settings": ", ".join(f"{key}={value}" for key, value in request.settings.items()),
        "pam.demo": str(request.demo),
    }


class _Listener(schedule.Listener):
    """Passes a running sweep's events to the progress line and to the mirror."""

    def __init__(self, progress: SweepProgress, mirror: Mirror) -> None:
        self._progress = progress
        self._mirror = mirror

    def on_epoch(self, cell_id: str, metrics: Mapping[str, float]) -> None:
        self._progress.epoch(cell_id, metrics)
        self._mirror.epoch(cell_id, metrics)

    def on_finished(self, cell_id: str) -> None:
        scores = summarise(ledger.read(cell_id))
        self._progress.finished(cell_id, f"IoU {scores['iou']:.3f}, Dice per patient {scores['patient_dice']:.3f}")
        self._mirror.finished(cell_id)

    def on_retry(self, cell_id: str) -> None:
        self._progress.retry(cell_id)

    def on_failed(self, cell_id: str) -> None:
        self._progress.failed(cell_id)
