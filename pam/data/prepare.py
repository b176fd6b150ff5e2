"""Case files to a slice store: all cases checked, in parallel, and the store there whole or not at all."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from pam.data import store as stores
from pam.data.build import build
from pam.data.check import check
from pam.data.processes import exclusive, usable_cores
from pam.data.room import PROCESS, WORKER
from pam.data.store import Store
from pam.data.survey import Plan, survey
from pam.datasets.dataset import Dataset
from pam.errors import DataError, PamError

LOG = logging.getLogger(__name__)
PARTIAL, SOURCE = ".partial-", ".source-"

Progress = Callable[[str, int, int], None]  # what is being done, cases done, cases in all


def prepare(
    dataset: Dataset,
    source: Path | None = None,
    *,
    workers: int | None = None,
    progress: Progress = lambda *_: None,
    announce: Callable[[str], None] = LOG.info,
    skip_bad: bool = False,
) -> Store:
    """The data set's slice store, made if these sources have none yet, and registered as its newest.

    A phantom makes its own source if none is given. Safe when several processes prepare one data set: the later ones
    wait. `skip_bad` checks all cases first and goes on without those that have errors; the store names them. Raises
    `DataError` for sources that are not what the data set promises; nothing is left behind then.
    """
    if source is None and dataset.write_source is None:
        raise DataError(f"data set {dataset.name!r} needs a source folder (--source DIR); expected {dataset.expects}")
    if source is not None:
        dataset = dataset.at(source)
    if source is not None and not skip_bad:
        dataset.find_cases(source)  # a wrong folder is told before any waiting
    folder = stores.folder(dataset.name)
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder / ".lock", waiting=lambda: announce(f"another process prepares {dataset.name}; waiting")):
        for stale in folder.glob(f"{SOURCE}*"):  # of a killed process: the lock is ours, so nobody writes it
            shutil.rmtree(stale)
        with tempfile.TemporaryDirectory(dir=folder, prefix=SOURCE) as scratch:
            if source is None:
                assert dataset.write_source is not None
                source = Path(scratch) / "source"
                dataset.write_source(source)
            path = _prepare(
                dataset,
                source,
                workers=workers or usable_cores(),
                progress=progress,
                announce=announce,
                skip_bad=skip_bad,
            )
        store = stores.open(path)
        stores.register(store)
    return store


def _prepare(
    dataset: Dataset,
    source: Path,
    *,
    workers: int,
    progress: Progress,
    announce: Callable[[str], None],
    skip_bad: bool,
) -> Path:
    if skip_bad:
        checked = check(dataset, source, workers=workers, progress=partial(progress, "checking"))
        if not checked.good:
            raise DataError(f"{source}: each of its {len(checked.bad)} cases has errors; see --check")
        cases, left_out = checked.good, checked.bad
    else:
        cases, left_out = dataset.find_cases(source), []
    plan = survey(dataset, cases, left_out, workers, partial(progress, "reading"))
    path = stores.folder(dataset.name) / plan.key
    if (path / stores.ABOUT).exists():
        announce(f"{dataset.name} is prepared already, from the same files with the same settings: nothing to do")
        return path
    unfinished = path.with_name(f"{PARTIAL}{plan.key}")
    for stale in path.parent.glob(f"{PARTIAL}*"):
        if stale != unfinished:  # of other sources or settings; what a killed process left of these is gone on with
            shutil.rmtree(stale)
    _announce_large(plan, announce)
    try:
        build(plan, unfinished, workers, partial(progress, "storing"))
    except (PamError, OSError):
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    unfinished.replace(path)
    return path


def _announce_large(plan: Plan, announce: Callable[[str], None]) -> None:
    """Say so where a case takes a worker more than its gigabyte, for all that is left on the disk."""
    largest = plan.largest
    if largest.room.told:
        size = " × ".join(map(str, largest.shape))
        announce(
            f"case {largest.case.case} ({size}) takes a worker about {(PROCESS + largest.room.memory) / 1e9:.1f} GB of "
            f"memory, more than the usual {WORKER / 1e9:g} GB; choose --workers by what is free"
        )
