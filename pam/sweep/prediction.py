"""What a training step of a network takes on a CPU, without running it: a model fitted to measured steps.

    seconds = a · FLOP + b · bytes of pointwise operations + c · bytes of depth-wise convolutions
              + d · bytes of up-sampling + e · operations

Operations, bytes and FLOP are counted (`pam.networks.cost.training_work`); FLOP and bytes grow with the batch,
operations do not, and the optimizer's bytes belong to the second term. The factors are those of one machine. On
another, or with other threads, all steps are longer or shorter by much the same factor, which a few measured steps
tell (`predict`).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import astuple, dataclass

from pam import networks
from pam.networks.cost import Images, Work, training_work
from pam.study import Cell, Recipe
from pam.sweep.measure import Cost

ADAMW_BYTES = 28  # per parameter: reads it, its gradient and two moments, writes it and the moments


@dataclass(frozen=True, kw_only=True)
class Factors:
    """Seconds per unit of work."""

    gflop: float
    gigabyte: float
    depthwise_gigabyte: float
    resized_gigabyte: float
    operation: float

    def step_seconds(self, work: Work, batch_size: int) -> float:
        return math.fsum(a * b for a, b in zip(astuple(self), amounts(work, batch_size), strict=True))


def amounts(work: Work, batch_size: int) -> tuple[float, float, float, float, float]:
    """Of one step, in the order and the units of `Factors`."""
    return (
        batch_size * work.flop / 1e9,
        (batch_size * work.pointwise + ADAMW_BYTES * work.parameters) / 1e9,
        batch_size * work.depthwise / 1e9,
        batch_size * work.resized / 1e9,
        float(work.operations),
    )


# Of 2 cores of an AMD EPYC (family 25, model 17), torch 2.13; `tests/benchmarks/cost_model.py` fits them.
CPU = Factors(gflop=0.00199, gigabyte=0.0349, depthwise_gigabyte=0.345, resized_gigabyte=1.38, operation=0.000198)
OFF = "11 % off in the median and 21 % at most, where it was tried"  # on pairs of network and size held out there


def predict(cell: Cell, image: Images, measured: Sequence[tuple[Cell, Cost]]) -> Cost | None:
    """The cell's cost on images (c h w), from costs of other kinds measured on the same machine.

    None where it cannot be told: on a GPU, without a measured cell of the same precision, and for a network whose work
    cannot be counted. The median of measured to modelled seconds is the machine's pace: one disturbed measurement does
    not move it.
    """
    recipe = Recipe(**cell.recipe)
    alike = [(other, cost) for other, cost in measured if Recipe(**other.recipe).precision == recipe.precision]
    if not alike or any(cost.gpu for _, cost in alike):
        return None
    try:
        modelled = _modelled(cell, image)
        paces = [cost.step_seconds / _modelled(other, image) for other, cost in alike]
    except (RuntimeError, NotImplementedError):  # a user's network that looks at its values, say
        return None
    step = statistics.median(paces) * modelled
    scored = statistics.median(
        cost.score_seconds / (cost.step_seconds / Recipe(**other.recipe).batch_size) for other, cost in alike
    )
    return Cost(
        step_seconds=step,
        score_seconds=scored * step / recipe.batch_size,
        memory_mb=math.nan,
        gpu=None,
        device=alike[0][1].device,
        predicted=True,
    )


def _modelled(cell: Cell, image: Images) -> float:
    """Seconds of a step on the machine that the factors are of."""
    work = training_work(networks.sketch(cell.network, image[0], **cell.options), image)
    return CPU.step_seconds(work, Recipe(**cell.recipe).batch_size)
