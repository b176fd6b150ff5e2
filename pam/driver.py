"""One sweep: plan the study's cells, leave out what the ledger holds, schedule the rest, mirror and record it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pam import ledger, manifest, provenance, schedule, views
from pam.data.folds import Split
from pam.data.store import Store
from pam.progress import SweepProgress
from pam.request import Asked, Request, resolve
from pam.study import Cell
from pam.track import Mirror, summarise


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where cells run, and on how much of it each."""

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


def sweep(request: Request, placement: Placement) -> Outcome:
    """Train what the ledger lacks of the cells asked for; raises `PamError` before anything starts if it cannot."""
    schedule.Resources(cpus=placement.cpus, gpus=placement.gpus or 0)
    resolved = resolve(request)
    study, store, asked = resolved.study, resolved.store, resolved.cells
    missing = [(cell, split) for cell, split in resolved.planned if not ledger.has(cell.id)]
    manifest.write(
        study,
        store,
        asked,
        resolved.declared,
        split=resolved.split,
        settings=resolved.settings,
        demo=resolved.demo,
    )
    views.write(store)
    mirror = Mirror(f"{study.name} on {store.dataset}", _tags(resolved), asked)
    view = views.path_of(store.hash)
    mirror.study({manifest.FILE: manifest.path_of(study.name, store.dataset), view.name: view})
    for cell in asked:
        (mirror.finished if ledger.has(cell.id) else mirror.restart)(cell.id)
    errors: dict[str, str] = {}
    try:
        if missing:
            errors = _train(missing, store, placement, mirror)
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


def describe(cell: Cell) -> str:
    return f"{cell.label}, fold {cell.fold}, seed {cell.seed}"


def _train(missing: list[tuple[Cell, Split]], store: Store, placement: Placement, mirror: Mirror) -> dict[str, str]:
    with schedule.cluster(placement.address):
        gpus = schedule.default_gpus() if placement.gpus is None else placement.gpus
        resources = schedule.Resources(cpus=placement.cpus, gpus=gpus)
        with SweepProgress({cell.id: cell for cell, _ in missing}) as progress:
            return schedule.run(
                missing,
                store,
                resources=resources,
                provenance=provenance.collect(),
                listener=_Listener(progress, mirror),
            )


def _tags(asked: Asked) -> dict[str, str]:
    return {
        "pam.study": asked.study.name,
        "pam.question": asked.study.question,
        "pam.dataset": asked.store.label,
        "pam.data_hash": asked.store.hash,
        "pam.settings": ", ".join(f"{key}={value}" for key, value in asked.settings.items()),
        "pam.demo": str(asked.demo),
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
