"""One sweep: plan the study's cells, leave out what the ledger holds, schedule the rest, mirror and record it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pam import cells, checkpoints, failures, home, ledger, manifest, provenance, schedule, views
from pam.data.folds import Split
from pam.errors import StudyError
from pam.events import Events, storage_failed
from pam.files import check_writable, is_storage
from pam.progress import SweepProgress
from pam.request import Asked, Request, resolve
from pam.study import Cell
from pam.track import Mirror

INTERRUPTED = "interrupted"


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where cells run, and on how much of it each."""

    address: str | None = None
    cpus: int = 1
    gpus: float | None = None  # None: one where the cluster has any


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What to do about cells that fail."""

    rerun: Iterable[str] = ()  # cells to train again: "failed", "diverged", or cells' ids
    max_failures: int | None = None  # in place of the study's
    checkpoint_seconds: float = cells.CHECKPOINT_SECONDS


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a sweep ended, in cells."""

    study: str
    data: str
    asked: int
    found: int  # in the ledger before
    finished: int
    failed: Mapping[str, failures.Failure]  # "label, fold, seed" → why it has no result; those of earlier sweeps too
    stopped: str  # why the sweep stopped early, or ""
    mirror_behind: str  # why MLflow lacks something, or ""

    @property
    def to_go(self) -> int:
        """Cells that neither finished nor failed: the same command goes on with them."""
        return self.asked - self.found - self.finished - len(self.failed)


def sweep(request: Request, placement: Placement, policy: Policy) -> Outcome:
    """Train what the ledger lacks of the cells asked for; raises `PamError` before anything starts if it cannot."""
    schedule.Resources(cpus=placement.cpus, gpus=placement.gpus or 0)
    _check(policy)
    resolved = resolve(request)
    study, store, asked = resolved.study, resolved.store, resolved.cells
    again = _again(policy.rerun, asked)
    for folder in (home.ledger(), home.checkpoints(), home.failures(), home.leases(), home.studies()):
        check_writable(folder)
    asked_for = manifest.write(
        study,
        store,
        asked,
        resolved.declared,
        split=resolved.split,
        settings=resolved.settings,
        demo=resolved.demo,
    )
    views.write(store)
    for cell in again:
        _forget(cell)
    missing = [(cell, split) for cell, split in resolved.planned if not schedule.ended(cell.id)]
    found = sum(ledger.has(cell.id) for cell in asked)
    mirror = Mirror(asked_for)
    stopped = ""
    try:
        for cell in asked:
            mirror.refresh(cell.id)
        if missing:
            stopped = _train(missing, resolved, placement, policy, mirror)
    except KeyboardInterrupt:  # by Ctrl-C, or by SIGTERM: see `cli.guarded`
        stopped = INTERRUPTED
    except OSError as error:
        if not is_storage(error):
            raise
        stopped = storage_failed(error)
    finally:
        mirror.close()
    known = {describe(cell): failures.read(cell.id) for cell in asked if not ledger.has(cell.id)}
    return Outcome(
        study=study.name,
        data=store.label,
        asked=len(asked),
        found=found,
        finished=sum(ledger.has(cell.id) for cell, _ in missing),
        failed={words: failure for words, failure in known.items() if failure is not None},
        stopped=stopped,
        mirror_behind=mirror.behind,
    )


def _again(words: Iterable[str], asked: Iterable[Cell]) -> list[Cell]:
    """The cells that a request wants to be trained again. Raises `StudyError` for a word that names none."""
    kinds = {cell.id: failure.kind for cell in asked if (failure := failures.read(cell.id)) is not None}
    chosen: dict[str, Cell] = {}
    for word in words:
        found = {cell.id: cell for cell in asked if word in (cell.id, kinds.get(cell.id))}
        if not found and word not in failures.KINDS:
            raise StudyError(
                f"--rerun {word}: not a cell of this sweep; expected {' or '.join(failures.KINDS)}, "
                "or cells' ids as in the study's table.csv"
            )
        chosen |= found
    return list(chosen.values())


def _forget(cell: Cell) -> None:
    """Make the cell missing. One that failed goes on from its checkpoint; any other starts anew."""
    failure = failures.read(cell.id)
    if failure is None or failure.kind == failures.DIVERGED:
        checkpoints.forget(cell.id)
    ledger.remove(cell.id)
    failures.forget(cell.id)


def _check(policy: Policy) -> None:
    if policy.max_failures is not None and policy.max_failures < 0:
        raise StudyError(f"--max-failures is {policy.max_failures}; expected a whole number from 0")
    if not policy.checkpoint_seconds >= 0:
        raise StudyError(f"--checkpoint-seconds is {policy.checkpoint_seconds}; expected a number from 0")


def describe(cell: Cell) -> str:
    return f"{cell.label}, fold {cell.fold}, seed {cell.seed}"


def _train(
    missing: list[tuple[Cell, Split]], asked: Asked, placement: Placement, policy: Policy, mirror: Mirror
) -> str:
    """Train the cells; why the sweep stopped early, or ""."""
    by_id = {cell.id: cell for cell, _ in missing}
    allowed = asked.study.failures_allowed(len(by_id)) if policy.max_failures is None else policy.max_failures
    origin = provenance.collect()
    with schedule.cluster(placement.address), SweepProgress(by_id) as progress:
        gpus = schedule.default_gpus() if placement.gpus is None else placement.gpus
        resources = schedule.Resources(cpus=placement.cpus, gpus=gpus)
        events = Events(by_id, progress, mirror, provenance=origin, allowed=allowed)
        try:
            schedule.run(
                missing,
                asked.store,
                resources=resources,
                provenance=origin,
                checkpoint_seconds=policy.checkpoint_seconds,
                listener=events,
            )
        finally:
            events.interrupted()  # before Ray's shutdown, which may take longer than the time that is left
    return events.stopped
