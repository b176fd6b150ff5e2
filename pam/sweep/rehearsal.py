"""A sweep's dry run: what it would train and what that would take, measured; nothing is recorded."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import torch

from pam import entries, home, track
from pam.counts import counted
from pam.data.folds import Split
from pam.data.processes import usable_cores
from pam.errors import PamError
from pam.study import Cell
from pam.sweep import disk, estimate, nodes, schedule
from pam.sweep.estimate import Estimate, Machines
from pam.sweep.measure import Cost, measure, measure_there
from pam.sweep.missing import to_train, wanted_again
from pam.sweep.packing import Placement, alone, share
from pam.sweep.prediction import OFF, predict
from pam.sweep.request import Asked, Request, resolve

WAIT = 300.0  # seconds for one measurement on a cluster that may be busy
TIMED = 30.0  # seconds after which no further kind is measured where it can be predicted
Kind = tuple[object, ...]
Tell = Callable[[str], None]


def rehearse(
    request: Request, placement: Placement, tell: Tell, *, rerun: Iterable[str] = (), keep_weights: bool = True
) -> str:
    """The dry run's report. Trains a few steps of each kind of network; `tell` hears which."""
    asked = resolve(request)
    planned = to_train(asked.planned, wanted_again(rerun, asked.cells))
    to_do = {cell.id for cell, _ in planned}
    done = len((entries.finished() - to_do) & {cell.id for cell in asked.cells})
    without = len(asked.planned) - len(planned) - done
    lacking = f"{without} failed or diverged (--rerun trains them again)" if without else ""
    what = f"{asked.study.name} on {asked.store.label}: {counted(len(asked.planned), 'cell')}"
    if not planned:
        return f"{what}, {f'{done} done, {lacking}' if without else 'all done'}: nothing to train"
    samples = {estimate.kind(cell): (cell, split) for cell, split in reversed(planned)}
    local = placement.address is None and "RAY_ADDRESS" not in os.environ
    costs, machines = (_here if local else _there)(asked, samples, placement, tell)
    resources = share(
        placement,
        asked.study.cells_per_gpu,
        len(planned),
        gpus=machines.gpus,
        by_cpu=machines.at_once,
        measured=lambda: estimate.suggest(list(costs.values())) or 1,
    )
    found = Estimate(store=asked.store, planned=planned, costs=costs, machines=machines, gpus=resources.gpus)
    head = ", ".join(filter(None, [what, f"{done} done", lacking, f"{len(planned)} to do"]))
    return "\n".join([head, "", *_table(found), "", *_totals(found, keep_weights=keep_weights)])


def _here(
    asked: Asked, samples: Mapping[Kind, tuple[Cell, Split]], placement: Placement, tell: Tell
) -> tuple[dict[Kind, Cost], Machines]:
    """Measured in this process, for a sweep on this machine alone."""
    costs = _costs(asked, samples, tell, lambda cell, split: measure(cell, split, asked.store, placement.cpus))
    count = torch.cuda.device_count()
    cores = usable_cores()
    words = f"this machine ({counted(cores, 'core')}{', ' + counted(count, 'GPU') if count else ''})"
    return costs, Machines(words=words, at_once=max(1, cores // placement.cpus), gpus=count)


def _there(
    asked: Asked, samples: Mapping[Kind, tuple[Cell, Split]], placement: Placement, tell: Tell
) -> tuple[dict[Kind, Cost], Machines]:
    """Measured in a cluster's workers, one after another, on whichever node has room."""
    with schedule.cluster(placement.address):
        cell = alone(placement)
        schedule.check_fits(cell)
        where = (home.portable(asked.store.path), home.address(), placement.cpus)
        ask = partial(nodes.once, measure_there, cpus=cell.cpus, gpus=cell.gpus, seconds=WAIT)
        costs = _costs(asked, samples, tell, lambda cell, split: ask(cell, split, *where))
        there = nodes.nodes()
        words = f"{counted(len(there), 'node')} ({'; '.join(map(str, there))})"
        at_once = sum(node.cpus // placement.cpus for node in there)
        return costs, Machines(words=words, at_once=max(1, at_once), gpus=sum(node.gpus for node in there))


def _costs(
    asked: Asked, samples: Mapping[Kind, tuple[Cell, Split]], tell: Tell, ask: Callable[[Cell, Split], Cost]
) -> dict[Kind, Cost]:
    """Of each kind: measured by `ask`, or, once that has taken `TIMED` seconds, predicted from those measured."""
    image = (len(asked.store.modalities), *asked.store.images.shape[-2:])
    start, costs = time.monotonic(), {}
    measured: list[tuple[Cell, Cost]] = []
    for number, (kind, (cell, split)) in enumerate(samples.items(), start=1):
        cost = predict(cell, image, measured) if time.monotonic() - start > TIMED else None
        if cost is None:
            tell(f"measuring {number} of {len(samples)}: {cell.label}")
            try:
                cost = ask(cell, split)
            except nodes.WorkLost as error:
                raise PamError(f"{cell.label}: a few steps of it failed on the cluster ({error}); mend it") from error
            measured.append((cell, cost))
        costs[kind] = cost
    return costs


def _table(found: Estimate) -> list[str]:
    """A line per row of the study: cells that differ in label alone cost the same, but a reader looks for labels."""
    rows: dict[str, list[Cell]] = {}
    for cell, _ in found.planned:
        rows.setdefault(cell.label, []).append(cell)
    lines: list[tuple[str, ...]] = [("row", "cells", "epochs", "s/epoch", "memory", "GPU memory", "GPU busy")]
    for label, of in rows.items():
        cost = found.costs[estimate.kind(of[0])]
        gpu = cost.gpu
        shared = (disk.text(gpu.peak_mb), f"{100 * gpu.busy:.0f} %") if gpu else ("–", "–")
        seconds = f"{'~' * cost.predicted}{found.epoch_seconds(of):.3g}"
        memory = "–" if cost.predicted else disk.text(cost.memory_mb)
        lines.append((label, str(len(of)), str(found.epochs(of[0])), seconds, memory, *shared))
    if all(cost.gpu is None for cost in found.costs.values()):
        lines = [line[:-2] for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines]


def _totals(found: Estimate, *, keep_weights: bool) -> list[str]:
    mirrored = track.tracking_uri().startswith("sqlite:")
    taken = disk.needed(found.planned, found.store, at_once=found.at_once, keep_weights=keep_weights, mirrored=mirrored)
    free = disk.free_mb()
    device = ", ".join(sorted({cost.device for cost in found.costs.values()}))
    gpu_hours = f"{found.gpu_hours:.3g} GPU-hours, " if found.machines.gpus and found.gpus else ""
    alone = _time(found.cell_seconds)
    parts = {"checkpoints": taken.checkpoints, "weights": taken.weights, "ledger": taken.ledger, "MLflow": taken.mirror}
    listed = ", ".join(f"{name} {disk.text(size)}" for name, size in parts.items() if size)
    wall = f"{_time(found.wall_seconds)} on {found.machines.words}, {counted(found.at_once, 'cell')} at once"
    lines = [
        f"measured on {device}, one cell at a time{_predicted(found)}",
        f"time  {gpu_hours}{wall}; {alone} one at a time",
        f"disk  {disk.text(taken.needed)} in {home.address()} ({listed}); {disk.text(free)} are free",
    ]
    if found.cells_per_gpu is not None:
        lines.append(f"GPUs  {found.cells_per_gpu} cells on each suit: --cells-per-gpu {found.cells_per_gpu}")
    if taken.needed > free:
        lines.append("the disk is too small")
    return [*lines, "nothing was trained or recorded; leave --dry-run out to start"]


def _predicted(found: Estimate) -> str:
    count = sum(cost.predicted for cost in found.costs.values())
    if not count:
        return ""
    of = len(found.costs)
    return f"; ~ {count} of {of} kinds predicted from the {of - count} measured: {OFF}"


def _time(seconds: float) -> str:
    return str(datetime.timedelta(seconds=max(1, round(seconds))))
