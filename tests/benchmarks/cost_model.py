"""Seconds of a training step from a network's counted work: fitted on some networks and sizes, held against others.

    python tests/benchmarks/cost_model.py [--threads 2] [--steps 5]

The model is that of `pam.sweep.prediction`, which a dry run uses; the printed factors are what stands there. It is
fitted by non-negative least squares of relative errors to the steps of `FITTED`, and then predicts those of
`HELD_OUT`, of which it has seen neither the pair of network and size nor, for half of them, the network. bfloat16
autocast, as recipes default.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields

import numpy as np
import torch
from measured import Row, finish, options, seconds
from scipy.optimize import nnls
from train_step import ours

from pam import networks
from pam.networks.cost import training_work
from pam.sweep.prediction import Factors, amounts

WITHIN = 20.0  # per cent
CHANNELS = 4
Point = tuple[str, int, int, int]  # network, width, side, batch

FITTED: tuple[Point, ...] = tuple(
    (name, *size)
    for name in ("unet", "fpa", "rfna", "aunet", "d6unet")
    for size in ((8, 64, 8), (8, 128, 8), (16, 96, 8), (32, 64, 4), (32, 128, 2))
)
HELD_OUT: tuple[Point, ...] = tuple(
    (name, *size)
    for name in ("unet", "fpa", "rfna", "cbamunet", "cscunet", "gcnunet", "fpa_text")
    for size in ((8, 96, 16), (16, 160, 4), (32, 96, 4))
)


def prepared(point: Point) -> Callable[[], None]:
    name, width, side, batch = point
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(batch, CHANNELS, side, side, generator=generator)
    target = (torch.rand(batch, 1, side, side, generator=generator) < 0.05).float()
    step = ours(networks.build(name, CHANNELS, generator=generator, width=width), images, target)
    step()  # the first allocates and chooses kernels
    return step


def step_seconds(points: Sequence[Point], steps: int) -> dict[Point, float]:
    """The fastest of each: what else the machine does only adds. In rounds, so that it adds to all points alike."""
    ready = {point: prepared(point) for point in points}
    rounds = [{point: seconds(step) for point, step in ready.items()} for _ in range(steps)]
    return {point: min(found[point] for found in rounds) for point in points}


def work(point: Point) -> tuple[float, ...]:
    name, width, side, batch = point
    return amounts(training_work(networks.sketch(name, CHANNELS, width=width), (CHANNELS, side, side)), batch)


def measure(arguments: argparse.Namespace) -> Iterator[Row]:
    taken = step_seconds((*FITTED, *HELD_OUT), arguments.steps)
    rows = np.array([[amount / taken[point] for amount in work(point)] for point in FITTED])
    scale = rows.max(axis=0)
    solution = (nnls(rows / scale, np.ones(len(FITTED)))[0] / scale).tolist()
    found = dict(zip((field.name for field in fields(Factors)), solution, strict=True))
    print(f"  {Factors(**found)}", file=sys.stderr)
    off = {}
    for point, measured in taken.items():
        predicted = float(np.dot(solution, work(point)))
        off[point] = 100 * abs(predicted / measured - 1)
        words = f"{'held out' if point in HELD_OUT else 'fitted':<8} {point}"
        print(f"  {words}: {measured:.4f} s, predicted {predicted:.4f} s, off {off[point]:.0f} %", file=sys.stderr)
    for words, points in (("held-out", HELD_OUT), ("fitted", FITTED)):
        errors = sorted(off[point] for point in points)
        within = sum(error <= WITHIN for error in errors)
        yield Row(
            what=f"cost model: error of a step's predicted seconds, {len(points)} {words} pairs of network and size",
            unit="%",
            values=tuple(off[point] for point in points),
            each="pairs of network and size",
            most=WITHIN if words == "held-out" else None,
            against="measured steps",
            note=f"{within} of {len(points)} within {WITHIN:.0f} %",
        )


if __name__ == "__main__":
    arguments = options(__doc__, threads=2, steps=5).parse_args()
    torch.set_num_threads(arguments.threads)
    sys.exit(finish(__file__, measure(arguments), arguments))
