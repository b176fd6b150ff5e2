"""One sweep: plan the study's cells, leave out what the ledger holds, schedule the rest, mirror and record it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from pam import cells, checkpoints, entries, failures, home, ledger, manifest, provenance, views
from pam.data.folds import Split
from pam.errors import StudyError
from pam.files import check_writable, is_storage
from pam.study import Cell
from pam.sweep import disk, packing, preflight, schedule
from pam.sweep.disk import Budget
from pam.sweep.events import Events, storage_failed
from pam.sweep.gauges import Gauges
from pam.sweep.missing import to_train, wanted_again
from pam.sweep.packing import Placement
from pam.sweep.progress import SweepProgress
from pam.sweep.request import Asked, Request, resolve
from pam.track import Mirror, tracking_uri

INTERRUPTED = "interrupted"
WEIGHTS, NOTHING = KEEP = ("weights", "nothing")  # what is kept of a finished cell's checkpoints


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What to do about cells that fail, and what to keep of those that finish."""

    rerun: Iterable[str] = ()  # cells to train again: "failed", "diverged", or cells' ids
    max_failures: int | None = None  # in place of the study's
    checkpoint_seconds: float = cells.CHECKPOINT_SECONDS
    keep: str = WEIGHTS  # of a finished cell's checkpoints
    disk_budget: float | None = None  # GB, in place of the study's; see `disk.Budget`


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
    mirror_broken: str  # what ended the mirror, or ""; see `pam.track.Mirror`

    @property
    def to_go(self) -> int:
        """Cells that neither finished nor failed: the same command goes on with them."""
        return self.asked - self.found - self.finished - len(self.failed)


def sweep(request: Request, placement: Placement, policy: Policy) -> Outcome:
    """Train what the ledger lacks of the cells asked for; raises `PamError` before anything starts if it cannot."""
    _check(policy)
    resolved = resolve(request)
    study, store, asked = resolved.study, resolved.store, resolved.cells
    again = wanted_again(policy.rerun, asked)
    for folder in (home.ledger(), home.checkpoints(), home.failures(), home.leases(), home.studies()):
        check_writable(folder)
    anew = {cell.id for cell in again}
    done, missing = entries.finished(), to_train(resolved.planned, again)
    found = sum(cell.id in done for cell in asked if cell.id not in anew)
    with schedule.cluster(placement.address) if missing else nullcontext():
        stopped, mirror = _run(missing, again, resolved, placement, policy)
    done, without = entries.finished(), failures.known()
    known = {describe(cell): failures.read(cell.id) for cell in asked if cell.id in without - done}
    return Outcome(
        study=study.name,
        data=store.label,
        asked=len(asked),
        found=found,
        finished=sum(cell.id in done for cell, _ in missing),
        failed={words: failure for words, failure in known.items() if failure is not None},
        stopped=stopped,
        mirror_behind=mirror.behind,
        mirror_broken=mirror.broken,
    )


def _run(
    missing: list[tuple[Cell, Split]], again: Sequence[Cell], asked: Asked, placement: Placement, policy: Policy
) -> tuple[str, Mirror]:
    """Record what was asked for, train and mirror it; why the sweep stopped early, or "", and the closed mirror."""
    ready = _ready(missing, asked, placement, policy) if missing else None
    asked_for = manifest.write(
        asked.study,
        asked.store,
        asked.cells,
        asked.declared,
        split=asked.split,
        settings=asked.settings,
        demo=asked.demo,
    )
    views.write(asked.store)
    for cell in again:
        _forget(cell)
    mirror = Mirror(asked_for)
    stopped = ""
    try:
        for cell in asked.cells:
            mirror.refresh(cell.id)
        if ready is not None:
            stopped = _train(missing, asked, ready, policy, mirror)
    except KeyboardInterrupt:  # by Ctrl-C, or by SIGTERM: see `cli.guarded`
        stopped = INTERRUPTED
    except OSError as error:
        if not is_storage(error):
            raise
        stopped = storage_failed(error)
    finally:
        mirror.close()
    return stopped, mirror


@dataclass(frozen=True, kw_only=True)
class _Ready:
    """What a sweep on a cluster without problems runs with."""

    resources: schedule.Resources
    budget: Budget


def _ready(missing: list[tuple[Cell, Split]], asked: Asked, placement: Placement, policy: Policy) -> _Ready:
    """Raises `PamError`, before anything is recorded, where something would stop the cells."""

    def checked(resources: schedule.Resources) -> disk.Disk:
        expected = disk.needed(
            missing,
            asked.store,
            at_once=schedule.slots(resources),
            keep_weights=policy.keep == WEIGHTS,
            mirrored=tracking_uri().startswith("sqlite:"),
        )
        preflight.check(asked.store, resources, tracking_uri(), expected)
        return expected

    wanted = asked.study.cells_per_gpu
    if packing.is_measured(placement, wanted):  # which takes a while
        checked(packing.alone(placement))
    resources = packing.resources(placement, wanted, missing, asked.store)
    expected = checked(resources)
    limit = asked.study.disk_budget if policy.disk_budget is None else policy.disk_budget
    budget = Budget(limit, [cell.id for cell in asked.declared], running_mb=expected.running)
    return _Ready(resources=resources, budget=budget)


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
    if policy.disk_budget is not None and not policy.disk_budget > 0:
        raise StudyError(f"--disk-budget is {policy.disk_budget}; expected a number of gigabytes above 0")
    if not policy.checkpoint_seconds >= 0:
        raise StudyError(f"--checkpoint-seconds is {policy.checkpoint_seconds}; expected a number from 0")


def describe(cell: Cell) -> str:
    return f"{cell.label}, fold {cell.fold}, seed {cell.seed}"


def _train(missing: list[tuple[Cell, Split]], asked: Asked, ready: _Ready, policy: Policy, mirror: Mirror) -> str:
    """Train the cells; why the sweep stopped early, or ""."""
    by_id = {cell.id: cell for cell, _ in missing}
    allowed = asked.study.failures_allowed(len(by_id)) if policy.max_failures is None else policy.max_failures
    origin = provenance.collect()
    with SweepProgress(by_id) as progress:
        events = Events(
            by_id,
            progress,
            mirror,
            provenance=origin,
            allowed=allowed,
            budget=ready.budget,
            gauges=Gauges(asked.study.name, asked.store.dataset),
        )
        try:
            schedule.run(
                missing,
                asked.store,
                resources=ready.resources,
                provenance=origin,
                checkpoint_seconds=policy.checkpoint_seconds,
                keep_weights=policy.keep == WEIGHTS,
                listener=events,
            )
        finally:
            events.interrupted()  # before Ray's shutdown, which may take longer than the time that is left
    return events.stopped
