"""What a sweep will take: time, memory and GPUs, from what each kind of cell was measured to cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pam import cells
from pam.data.batches import choose_slices
from pam.data.folds import Split
from pam.data.store import Store
from pam.study import Cell, Recipe
from pam.sweep.measure import Cost

CELL_SECONDS = 0.5  # of scheduling, beside a cell's own work
CUDA_MB = 500.0  # of a GPU's memory, taken by each process for itself
HEADROOM = 0.9  # share of a GPU's memory that cells may fill


@dataclass(frozen=True, kw_only=True)
class Machines:
    """The cluster at hand."""

    words: str
    at_once: int  # cells that its CPUs allow, and its GPUs one each
    gpus: int


def kind(cell: Cell) -> tuple[object, ...]:
    """What cells of one cost have in common."""
    recipe = Recipe(**cell.recipe)
    options = tuple(sorted((key, repr(value)) for key, value in cell.options.items()))
    return cell.network, options, recipe.batch_size, recipe.precision, recipe.loss, repr(recipe.augment)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Of the cells to do; `costs` holds each kind's."""

    store: Store
    planned: Sequence[tuple[Cell, Split]]
    costs: Mapping[tuple[object, ...], Cost]
    machines: Machines
    gpus: float  # per cell

    @cached_property
    def _epochs(self) -> dict[str, tuple[int, float]]:
        """Of each cell: epochs, and seconds of each."""
        slices: dict[tuple[str, str], int] = {}
        found = {}
        for cell, split in self.planned:
            recipe = Recipe(**cell.recipe)
            key = (split.hash, recipe.slices)  # how many slices are chosen does not depend on the seed
            if key not in slices:
                chosen = choose_slices(
                    self.store.columns, split.train, recipe.slices, cells.generator_of(cell, "slices")
                )
                slices[key] = len(chosen)
            steps = -(-slices[key] // recipe.batch_size)
            found[cell.id] = (recipe.epochs, steps * self.costs[kind(cell)].step_seconds)
        return found

    def epoch_seconds(self, of: Sequence[Cell]) -> float:
        """Of the cells, on average."""
        return float(np.mean([self._epochs[cell.id][1] for cell in of]))

    def epochs(self, cell: Cell) -> int:
        return self._epochs[cell.id][0]

    @cached_property
    def cell_seconds(self) -> float:
        """Of all cells together, were each alone on its device."""
        total = 0.0
        for cell, split in self.planned:
            epochs, seconds = self._epochs[cell.id]
            total += epochs * seconds + self._test_slices(split) * self.costs[kind(cell)].score_seconds + CELL_SECONDS
        return total

    def _test_slices(self, split: Split) -> int:
        return sum(len(self.store.rows(case)) for _, case in self.store.cases_of(split.test))

    @property
    def cells_per_gpu(self) -> int | None:
        """How many cells a GPU has memory for and gains by; None without a GPU."""
        return suggest(list(self.costs.values()))

    @property
    def at_once(self) -> int:
        """Cells that run at the same time."""
        by_gpu = int(self.machines.gpus / self.gpus + 1e-9) if self.gpus else self.machines.at_once
        return max(1, min(self.machines.at_once, by_gpu))

    @property
    def wall_seconds(self) -> float:
        """With the cells at once that were asked for. Cells that share a GPU gain only the time in which it idles."""
        abreast = float(min(self.at_once, len(self.planned)))
        busy = [cost.gpu.busy for cost in self.costs.values() if cost.gpu is not None]
        if busy and self.machines.gpus:
            abreast = min(abreast, self.machines.gpus / max(float(np.mean(busy)), 1e-3))
        longest = max(epochs * seconds for epochs, seconds in self._epochs.values())
        return max(self.cell_seconds / abreast, longest)

    @property
    def gpu_hours(self) -> float:
        """GPUs in use × time."""
        in_use = min(self.machines.gpus, math.ceil(min(self.at_once, len(self.planned)) * self.gpus))
        return in_use * self.wall_seconds / 3600


def suggest(costs: Sequence[Cost]) -> int | None:
    """Cells per GPU: as many as fill its time, if its memory holds so many; of the hungriest kind. None without GPU."""
    gpus = [cost.gpu for cost in costs if cost.gpu is not None]
    if not gpus:
        return None
    fit = min(int(HEADROOM * gpu.total_mb / (gpu.peak_mb + CUDA_MB)) for gpu in gpus)
    gain = min(math.ceil(1 / max(gpu.busy, 1e-3)) for gpu in gpus)
    return max(1, min(fit, gain))
