"""One cell, from prepared data to its result. Knows neither Ray nor MLflow; any scheduler pulls from it."""

from __future__ import annotations

import datetime
import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

import torch
from torch import nn

from pam import cell_log, checkpoints, entries, failures, leases, memory, networks
from pam.data.augment import AUGMENTATIONS
from pam.data.batches import Batches, choose_slices
from pam.data.folds import Split
from pam.data.splits import inner
from pam.data.store import Store
from pam.errors import DataError, StudyError
from pam.evaluate import dice_per_patient, evaluate
from pam.losses import LOSSES
from pam.networks import NETWORKS
from pam.networks.cost import Images, flop
from pam.result import Record, Result
from pam.study import Cell, Recipe
from pam.train import Diverged, Epoch, fit
from pam.usage import Meter

CHECKPOINT_SECONDS = 30.0  # what an interrupted cell loses at most, beside the epoch it was in


def run(
    cell: Cell,
    store: Store,
    split: Split,
    *,
    device: torch.device,
    provenance: Mapping[str, Any],
    record: Record,
    checkpoint_seconds: float = CHECKPOINT_SECONDS,
    owner: str = leases.PROCESS,
    keep_weights: bool = True,
) -> Iterator[Epoch]:
    """Train the cell from its newest checkpoint, yield each epoch, then score it and record its result.

    The state is saved whenever `checkpoint_seconds` have passed since the last time, and after the last epoch.
    Yields nothing for a cell that the ledger holds. Raises `leases.Busy` if another process has the cell (`owner`: who
    asks; a scheduler gives its own name, so that it may start a cell again), and `Diverged` after recording it.
    """
    if (cell.data_hash, cell.split_hash) != (store.hash, split.hash):
        raise DataError(f"cell {cell.id} was planned for other data than {store.path} holds; run the sweep again")
    recipe = Recipe(**cell.recipe)
    if code_of(cell.network, recipe) != dict(cell.code):
        changed = ", ".join(code_of(cell.network, recipe))
        raise StudyError(
            f"cell {cell.id}: the source of {changed} was edited since it was planned; run the sweep again"
        )
    with leases.Watch(owner).take(cell.id) as lease:
        if not entries.has(cell.id):
            epochs = _train(
                cell,
                store,
                split,
                device=device,
                provenance=provenance,
                record=record,
                checkpoint_seconds=checkpoint_seconds,
                lease=lease,
                keep_weights=keep_weights,
            )
            yield from cell_log.follow(cell.id, epochs, device=str(device))


def _train(
    cell: Cell,
    store: Store,
    split: Split,
    *,
    device: torch.device,
    provenance: Mapping[str, Any],
    record: Record,
    checkpoint_seconds: float,
    lease: leases.Lease,
    keep_weights: bool,
) -> Iterator[Epoch]:
    recipe = Recipe(**cell.recipe)
    started = datetime.datetime.now(datetime.UTC)
    memory.reset_peak()
    network, batches = prepare_training(cell, recipe, store, split, device)
    state = checkpoints.load(cell.id)
    history = [] if state is None else state["history"]
    validate = _validation(recipe, store, split, device)
    saved, meter = time.monotonic(), Meter(device)
    try:
        for epoch in fit(network, batches, recipe, state=state, validate=validate):
            lease.check()
            told = {name: value for name, value in vars(epoch).items() if name not in ("state", "of")}
            history.append({**told, **meter.read()})
            if epoch.epoch == recipe.epochs or time.monotonic() - saved >= checkpoint_seconds:
                checkpoints.save(cell.id, {**epoch.state, "history": history})
                saved = time.monotonic()
            yield epoch
    except Diverged as error:
        failures.write(
            failures.Failure(
                cell=describe(cell),
                kind=failures.DIVERGED,
                epoch=error.epoch,
                message=str(error),
                metrics=history[-1] if history else {},
                provenance=provenance,
            )
        )
        checkpoints.forget(cell.id)  # from there it would diverge again
        raise
    found = evaluate(
        network,
        store,
        split.test,
        device=device,
        precision=recipe.precision,
        chosen=choose_slices(store.columns, split.test, recipe.test_slices, generator_of(cell, "test slices")),
    )
    lease.check()
    record(
        Result(
            cell=describe(cell),
            provenance={
                **provenance,
                **_measured(recipe, network, device, started, history),
                "gflop": gflop(cell, (len(store.modalities), *store.images.shape[-2:])),
                "data": store.describe(),
            },
            slices=found.slices,
            cases=found.cases,
            epochs=history,
            predictions=found.predictions,
            attention=found.attention,
        )
    )
    checkpoints.finish(cell.id, network.state_dict(), keep=keep_weights)
    failures.forget(cell.id)


def gflop(cell: Cell, image: Images) -> float | None:
    """Of a forward pass of the cell's network on one image, (c h w); None for a network that only real numbers run."""
    try:
        return round(flop(networks.sketch(cell.network, image[0], **cell.options), image) / 1e9, 4)
    except (RuntimeError, NotImplementedError):  # a user's network that looks at its values, say; it was trained well
        return None


def prepare_training(
    cell: Cell, recipe: Recipe, store: Store, split: Split, device: torch.device
) -> tuple[nn.Module, Batches]:
    """The cell's network with its first weights, and its batches; both depend on nothing but the cell's identity."""
    network = networks.build(
        cell.network, len(store.modalities), generator=generator_of(cell, "weights"), **cell.options
    )
    patients = inner(split, recipe.validation).train if recipe.validate_every else split.train
    rows = choose_slices(store.columns, patients, recipe.slices, generator_of(cell, "slices"))
    batches = Batches(
        store.images,
        store.masks,
        rows,
        batch_size=recipe.batch_size,
        augment=recipe.augment,
        generator=generator_of(cell, "batches"),
        device=device,
    )
    return network, batches


def _validation(
    recipe: Recipe, store: Store, split: Split, device: torch.device
) -> Callable[[nn.Module], float] | None:
    """What scores a network on the validation patients, which `prepare_training` keeps from it; None if none is due."""
    if not recipe.validate_every:
        return None
    patients = inner(split, recipe.validation).test
    return partial(dice_per_patient, store=store, patients=patients, device=device, precision=recipe.precision)


def code_of(network: str, recipe: Recipe) -> dict[str, str]:
    """Source hash of each part of a cell that comes from outside this project, by the part's name."""
    parts = {network: NETWORKS.code(network), recipe.loss: LOSSES.code(recipe.loss)}
    for entry in recipe.augment:
        name = entry if isinstance(entry, str) else entry[0]
        parts[name] = AUGMENTATIONS.code(name)
    return {name: code for name, code in sorted(parts.items()) if code}


def generator_of(cell: Cell, purpose: str) -> torch.Generator:
    """The cell's generator for one purpose: a function of seed and split, shared by all variants (paired rows).

    Test slices depend on the split alone: every seed is tested on the same ones.
    """
    seed = 0 if purpose == "test slices" else cell.seed
    digest = hashlib.sha256(f"{seed}/{cell.split_hash}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def describe(cell: Cell) -> dict[str, Any]:
    """The cell as plain data, its id included."""
    return {"id": cell.id, **asdict(cell)}


def _selected(recipe: Recipe, history: list[dict[str, Any]]) -> int:
    """The epoch whose weights were tested: the last, or the first of the best validated ones."""
    if recipe.select == "last":
        return recipe.epochs
    best = max(history, key=lambda epoch: -1.0 if math.isnan(epoch["validation_dice"]) else epoch["validation_dice"])
    return int(best["epoch"])


def _measured(
    recipe: Recipe,
    network: nn.Module,
    device: torch.device,
    started: datetime.datetime,
    history: list[dict[str, Any]],
) -> dict[str, Any]:
    cuda = device.type == "cuda"
    return {
        "started": started.isoformat(timespec="seconds"),
        "weights_of_epoch": _selected(recipe, history),
        "train_seconds": round(sum(epoch["seconds"] for epoch in history), 3),
        "peak_memory_mb": round(memory.peak_mb(), 1),
        "peak_gpu_memory_mb": round(torch.cuda.max_memory_allocated(device) / 2**20, 1) if cuda else None,
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "device": torch.cuda.get_device_name(device) if cuda else f"cpu × {torch.get_num_threads()}",
    }
