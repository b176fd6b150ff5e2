"""What a cell costs, from a few real steps of its network on this process's device."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from pam import cells, memory
from pam.data.batches import Batches
from pam.data.folds import Split
from pam.data.store import Store
from pam.data.store import open as open_store
from pam.evaluate import predict
from pam.metrics import score_slices
from pam.study import Cell, Recipe
from pam.train import fit

STEPS = 5  # timed at most, after one that warms up
BUDGET = 5.0  # seconds after which no further step starts: a slow step needs no repetition
SCORED = 8  # test slices predicted and scored
GENTLE = 1e-12  # a learning rate with which nothing diverges


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """What a cell took of the GPU that it had."""

    peak_mb: float  # reserved
    busy: float  # share of a step's time in which the GPU computes
    total_mb: float  # of memory that the GPU has


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one kind of cell on one device."""

    step_seconds: float  # of one batch, the fastest of those timed
    score_seconds: float  # of one test slice, predicted and scored
    memory_mb: float  # resident, at the peak; NaN if predicted
    gpu: Gpu | None
    device: str
    predicted: bool = False  # by `pam.sweep.prediction`, not measured


def measure(cell: Cell, split: Split, store: Store, cpus: int) -> Cost:
    """Train the cell's network for a few steps and score a few slices; nothing is kept."""
    torch.set_num_threads(cpus)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    recipe = replace(Recipe(**cell.recipe), epochs=STEPS + 1, learning_rate=GENTLE)
    memory.reset_peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    network, batches = cells.prepare_training(cell, recipe, store, split, device)
    seconds = _steps(network, batches.first(1), recipe)
    where = np.concatenate([store.rows(case) for _, case in store.cases_of(split.test)])[:SCORED]
    start = time.perf_counter()
    prediction = predict(network, store.images[where], device=device, precision=recipe.precision)
    score_slices(prediction, store.masks[where] > 0)
    scored = (time.perf_counter() - start) / len(where)
    step = min(seconds[1:] or seconds)
    cuda = device.type == "cuda"
    return Cost(
        step_seconds=step,
        score_seconds=scored,
        memory_mb=memory.peak_mb(),
        gpu=_gpu(device, _gpu_seconds(network, batches.first(1), recipe) / step) if cuda else None,
        device=torch.cuda.get_device_name(device) if cuda else f"cpu × {cpus}",
    )


def measure_there(cell: Cell, split: Split, store_path: str, pam_home: str, cpus: int) -> Cost:
    """`measure`, in a worker process of another machine."""
    os.environ["PAM_HOME"] = pam_home
    return measure(cell, split, open_store(store_path), cpus)


def _steps(network: nn.Module, batches: Batches, recipe: Recipe) -> list[float]:
    """Seconds of each step."""
    start = time.perf_counter()
    seconds: list[float] = []
    for epoch in fit(network, batches, recipe):
        seconds.append(epoch.seconds)
        if time.perf_counter() - start > BUDGET:
            break
    return seconds


def _gpu(device: torch.device, busy: float) -> Gpu:
    return Gpu(
        peak_mb=torch.cuda.max_memory_reserved(device) / 2**20,
        busy=min(1.0, busy),
        total_mb=torch.cuda.get_device_properties(device).total_memory / 2**20,
    )


def _gpu_seconds(network: nn.Module, batches: Batches, recipe: Recipe) -> float:
    """Time that the GPU computes during one step."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        next(fit(network, batches, recipe))
        torch.cuda.synchronize()
    return float(sum(event.self_device_time_total for event in profile.key_averages())) / 1e6
