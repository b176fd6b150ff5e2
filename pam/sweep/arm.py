"""One arm of a search: a cell trained and scored inside a training side; nothing of it reaches the ledger.

The split's test side is for validation here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from pam import cells, checkpoints
from pam.data.folds import Split
from pam.data.store import Store
from pam.data.store import open as open_store
from pam.evaluate import dice_per_patient
from pam.study import Cell, Recipe
from pam.train import Diverged, fit

Scored = tuple[int, float]  # epoch, validation score


def run(
    cell: Cell,
    inner: Split,
    store: Store,
    *,
    device: torch.device,
    rungs: Sequence[int],
    checkpoint_seconds: float = 30.0,
) -> Iterator[Scored]:
    """Train from the newest checkpoint and yield the score at each rung (an epoch); NaN, and the end, if it diverges.

    Scores that an earlier run had reached are yielded again, so that none is lost.
    """
    # Scored on the inner split alone, at the rungs, whatever validation the recipe asks of a study's cells.
    recipe = replace(Recipe(**cell.recipe), validate_every=0, select="last")
    network, batches = cells.prepare_training(cell, recipe, store, inner, device)
    state = checkpoints.load(key(cell))
    scores: dict[int, float] = {} if state is None else dict(state["scores"])
    yield from sorted(scores.items())
    saved = time.monotonic()
    try:
        for epoch in fit(network, batches, recipe, state=state):
            if epoch.epoch in rungs:
                scores[epoch.epoch] = dice_per_patient(
                    network, store, inner.test, device=device, precision=recipe.precision
                )
            if epoch.epoch in rungs or time.monotonic() - saved >= checkpoint_seconds:
                checkpoints.save(key(cell), {**epoch.state, "scores": scores})
                saved = time.monotonic()
            if epoch.epoch in rungs:
                yield epoch.epoch, scores[epoch.epoch]
    except Diverged:
        yield min((rung for rung in rungs if rung not in scores), default=recipe.epochs), float("nan")


def run_there(cell: Cell, inner: Split, store_path: str, cpus: int, rungs: Sequence[int]) -> Iterator[Scored]:
    """`run`, in a worker process, whose PAM_HOME is the caller's."""
    torch.set_num_threads(cpus)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    yield from run(cell, inner, open_store(store_path), device=device, rungs=rungs)


def key(cell: Cell) -> str:
    """The name of the arm's checkpoint; never that of a cell of a study."""
    return f"search-{cell.id}"
