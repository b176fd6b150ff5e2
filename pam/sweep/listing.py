"""What `pam.sweep --list` tells of a study: its question, its size, its claims and what it costs.

The cost is counted in operations, and measured where the ledger holds cells of the study: hours are never guessed.
"""

from __future__ import annotations

import datetime
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from typing import Any

import numpy as np

from pam import cells, ledger, networks
from pam.counts import counted
from pam.data import split_choice
from pam.data.batches import choose_slices
from pam.data.folds import Split
from pam.data.split_choice import IN_FOLDS
from pam.data.store import Store, find
from pam.datasets import DATASETS, Dataset
from pam.errors import DataError
from pam.networks.cost import TRAINING, flop
from pam.study import Cell, Recipe, Study
from pam.sweep.plan import plan
from pam.sweep.request import Request, settle

UNITS = ((1e18, "EFLOP"), (1e15, "PFLOP"), (1e12, "TFLOP"), (1e9, "GFLOP"))


def describe(request: Request) -> str:
    """Three lines: the question; data set, size and claims; the cost."""
    study, _ = settle(request)
    dataset = DATASETS.build(study.dataset)
    claims = ", ".join(claim.id for claim in study.claims) or "none"
    cost = _cost_of_search(study, dataset) if study.search else _cost(study, dataset)
    size = f"{counted(len(study.rows), 'row')} × {_repeats(study, study.split or dataset.split)}"
    return f"{study.name}: {study.question}\n  {dataset.name}: {size}; claims: {claims}\n  cost: {cost}"


def _repeats(study: Study, split: str) -> str:
    if study.search:
        return f"{counted(study.search.trials, 'trial')} of a search"
    return f"{f'{study.folds} {split}' if split in IN_FOLDS else f'split {split}'} × {counted(study.seeds, 'seed')}"


def _cost_of_search(study: Study, dataset: Dataset) -> str:
    """An upper bound: which trials stop early is not known before."""
    assert study.search is not None, "only a search has trials"
    epochs = sum(study.search.trials * _recipe(dataset, study, row.recipe).epochs for row in study.rows)
    return f"at most {epochs:,} epochs, of which trials that stop early save most"


def _cost(study: Study, dataset: Dataset) -> str:
    try:
        store = find(dataset.name)
    except DataError:
        return _per_slice(study, dataset)
    planned = plan(study, store)
    cells = f"{counted(len(planned), 'cell')}, {_operations(_work(planned, store))} to train"
    return "; ".join([cells, *_measured([cell for cell, _ in planned])])


def _per_slice(study: Study, dataset: Dataset) -> str:
    """Of a data set that is not prepared: how many slices it has is not known, nor always how large they are."""
    absent = f"slices are counted once {dataset.name} is prepared"
    split = split_choice.parse(study.split or dataset.split)
    if split.kind == "nnunet":  # its file tells how many splits there are
        return absent
    repeats = study.seeds * (study.folds if split.kind in IN_FOLDS else 1)
    epochs = [repeats * _recipe(dataset, study, row.recipe).epochs for row in study.rows]
    cells = f"{counted(repeats * len(study.rows), 'cell')}, {sum(epochs):,} epochs"
    if dataset.size is None:
        return f"{cells}; {absent}"
    image = (len(dataset.modalities), *dataset.size)
    operations = sum(
        count * TRAINING * _forward(row.network, json.dumps(dict(row.options)), image)
        for row, count in zip(study.rows, epochs, strict=True)
    )
    shape = "×".join(map(str, image))
    return f"{cells}, {_operations(operations)} per training slice of {shape}; {absent}"


def _work(planned: Sequence[tuple[Cell, Split]], store: Store) -> float:
    """Operations of all the training: epochs × slices × passes × those of a forward pass."""
    image = (len(store.modalities), *store.images.shape[-2:])
    slices: dict[tuple[str, str], int] = {}
    total = 0.0
    for cell, split in planned:
        recipe = Recipe(**cell.recipe)
        key = (split.hash, recipe.slices)  # how many slices are chosen does not depend on the seed
        if key not in slices:
            drawn = cells.generator_of(cell, "slices")
            slices[key] = len(choose_slices(store.columns, split.train, recipe.slices, drawn))
        total += recipe.epochs * slices[key] * TRAINING * _forward(cell.network, json.dumps(dict(cell.options)), image)
    return total


@cache
def _forward(network: str, options: str, image: tuple[int, int, int]) -> int:
    """Operations of one forward pass on an image (c h w); the options as JSON, since rows share networks."""
    return flop(networks.sketch(network, image[0], **json.loads(options)), image)


def _measured(declared: Sequence[Cell]) -> list[str]:
    """What the finished cells took to train, and what the others would at the pace of their row's finished ones."""
    finished = [cell for cell in declared if ledger.has(cell.id)]
    if not finished:
        return ["none trained yet: --dry-run measures its time"]
    epochs = ledger.read_many([cell.id for cell in finished], "epochs", ["seconds"])
    seconds = epochs.groupby("cell_id", observed=True).seconds.sum()
    paces: dict[str, list[float]] = defaultdict(list)
    for cell in finished:
        paces[cell.variant_id].append(float(seconds[cell.id]))
    devices = sorted({str(ledger.read_provenance(cell.id).get("device", "unknown device")) for cell in finished})
    told = [f"{len(finished)} trained in {_time(float(seconds.sum()))} on {', '.join(devices)}"]
    missing = [cell for cell in declared if cell not in finished]
    paced = [float(np.mean(paces[cell.variant_id])) for cell in missing if cell.variant_id in paces]
    if paced:
        told.append(f"{len(paced)} more of the same rows take {_time(sum(paced))} at that pace, one at a time")
    if len(missing) > len(paced):
        told.append(f"{len(missing) - len(paced)} of rows never trained: --dry-run measures their time")
    return told


def _recipe(dataset: Dataset, study: Study, row: Mapping[str, Any]) -> Recipe:
    return Recipe(**{**asdict(dataset.recipe), **study.recipe, **row})


def _operations(count: float) -> str:
    scale, unit = next((pair for pair in UNITS if count >= pair[0]), UNITS[-1])
    return f"{count / scale:.3g} {unit}"


def _time(seconds: float) -> str:
    return str(datetime.timedelta(seconds=max(1, round(seconds))))
