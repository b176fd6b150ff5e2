"""How many cells share a GPU, and so what each asks for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pam import home
from pam.data.folds import Split
from pam.data.store import Store
from pam.errors import PamError
from pam.study import AUTO, Cell
from pam.sweep import estimate, nodes, schedule
from pam.sweep.measure import measure_there
from pam.sweep.schedule import Resources

MEASURE_SECONDS = 300.0  # for one network, on a cluster that may be busy


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where cells run, and on how much of it each."""

    address: str | None = None
    cpus: int = 1
    gpus: float | None = None  # None: one, or a share of one, where the cluster has any
    cells_per_gpu: int | str | None = None  # or "auto": measured; None: the study's

    def __post_init__(self) -> None:
        Resources(cpus=self.cpus, gpus=self.gpus or 0)
        if self.gpus is not None and self.cells_per_gpu is not None:
            raise PamError("--gpus and --cells-per-gpu say the same in two ways; give one of them")
        check_sharing("--cells-per-gpu", self.cells_per_gpu)


def check_sharing(what: str, cells: int | str | None) -> None:
    """Raise `PamError` unless it is a number of cells that Ray can count, "auto" or None."""
    if cells not in (None, AUTO) and not (isinstance(cells, int) and 1 <= cells <= 100):
        raise PamError(f"{what} is {cells!r}; expected a whole number from 1 to 100, or {AUTO}")


def is_measured(placement: Placement, wanted: int | str | None) -> bool:
    """Whether how many cells share a GPU has to be measured first; `wanted` are the study's cells per GPU."""
    return placement.gpus is None and (placement.cells_per_gpu or wanted) == AUTO


def alone(placement: Placement) -> Resources:
    """What a cell asks for that shares its GPU with none, on the cluster that was joined."""
    return Resources(cpus=placement.cpus, gpus=schedule.default_gpus() if placement.gpus is None else placement.gpus)


def resources(
    placement: Placement, wanted: int | str | None, planned: Sequence[tuple[Cell, Split]], store: Store
) -> Resources:
    """What each cell asks for, on the cluster that was joined."""
    found = nodes.nodes()
    return share(
        placement,
        wanted,
        len(planned),
        gpus=sum(node.gpus for node in found),
        by_cpu=sum(node.cpus // placement.cpus for node in found if node.gpus),
        measured=lambda: _measured(placement.cpus, planned, store),
    )


def share(
    placement: Placement, wanted: int | str | None, cells: int, *, gpus: int, by_cpu: int, measured: Callable[[], int]
) -> Resources:
    """What each of so many cells asks for, where there are so many GPUs; `by_cpu`: cells at once that CPUs allow there.

    Ray fills one GPU before it begins the next. So that few cells do not crowd on the first GPU while others idle, no
    more cells share one than it takes to run all at once.
    """
    if placement.gpus is not None and (placement.gpus >= 1 or not placement.gpus):
        return Resources(cpus=placement.cpus, gpus=placement.gpus)
    if not gpus:
        return Resources(cpus=placement.cpus, gpus=placement.gpus or 0.0)
    if placement.gpus is not None:
        sharing = int(1 / placement.gpus + 1e-6)
    else:
        sharing = measured() if is_measured(placement, wanted) else int(placement.cells_per_gpu or wanted or 1)
    at_once = min(cells, max(1, by_cpu))
    return Resources.sharing_a_gpu(min(sharing, math.ceil(at_once / gpus)), placement.cpus)


def _measured(cpus: int, planned: Sequence[tuple[Cell, Split]], store: Store) -> int:
    """What suits the hungriest kind of cell, measured in a worker with a GPU of its own.

    1 if torch finds no GPU, or if a kind cannot be measured: its cells will tell why.
    """
    samples = {estimate.kind(cell): (cell, split) for cell, split in planned}
    where = (home.portable(store.path), home.address(), cpus)
    try:
        costs = [
            nodes.once(measure_there, *sample, *where, cpus=cpus, gpus=1, seconds=MEASURE_SECONDS)
            for sample in samples.values()
        ]
    except nodes.WorkLost:
        return 1
    return estimate.suggest(costs) or 1
