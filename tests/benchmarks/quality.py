"""Does a fast path change what is learned? Final Dice of each against plain float32, seed by seed, on real scans.

    python -m pam.prepare lgg --source kaggle_3m          # once
    python tests/benchmarks/quality.py [--seeds unet=10,fpa=5] [--epochs unet=12,fpa=4] [--shrink 2] [--processes 2]

Every way trains through `pam.train.fit`, with the same first weights, slices and batches for a seed; the test patients
are the same for all. Plain float32 is what PyTorch does by itself: no autocast, its own dilated kernel. Each training
has one thread; `--processes` of them run at once, which changes no result. `--shrink 2` takes every second row and
column, `--patients` so many to train on. While Dice still rises steeply two ways differ by as much as two seeds of one,
and it takes some thirty pairs to show anything; nearer to the end of training it takes few. All that takes hours: what
has ended is written to `--kept FILE`, and the same command goes on from there. A path is within the seed noise if the
95 % interval (t, paired over seeds) of the mean difference lies within ± the standard deviation of plain float32 over
seeds. The note of a row tells the difference in Dice of each seed.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import multiprocessing
import statistics
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from measured import Row, finish, options
from scipy import stats
from torch import nn

from pam import networks
from pam.data import store as stores
from pam.data.batches import Batches, choose_slices
from pam.evaluate import predict
from pam.networks.convolution import DilatedDepthwise
from pam.study import Recipe
from pam.train import fit

CPU = torch.device("cpu")
# Of each network: the fast paths, as (precision, shifted sums); both networks are trained plainly, too.
PLAIN = ("float32", False)
SETTINGS = ("patients", "batch", "width", "shrink", "rate")  # of a training, beside its network and epochs
WAYS = {
    "unet": {
        "bfloat16 autocast": ("bfloat16", False),
    },
    "fpa": {
        "shifted sums": ("float32", True),
        "bfloat16 autocast, shifted sums": ("bfloat16", True),
    },
}


def plain_kernels(network: nn.Module) -> nn.Module:
    """The network with PyTorch's own dilated convolutions, of the same weights."""
    network = copy.deepcopy(network)
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, DilatedDepthwise):
                told = {"padding": child.padding, "dilation": child.dilation, "groups": child.groups}
                plain = nn.Conv2d(child.in_channels, child.out_channels, 3, bias=False, **told)
                plain.load_state_dict(child.state_dict())
                setattr(parent, name, plain)
    return network


def dice(name: str, way: tuple[str, bool], seed: int, epochs: int, arguments: argparse.Namespace) -> float:
    """Mean over the test patients of the Dice of their slices pooled, after training."""
    torch.set_num_threads(1)
    precision, shifted = way
    store = stores.find("lgg")
    split = store.folds(5)[0]
    every = slice(None, None, arguments.shrink)
    images, masks = store.images[..., every, every], store.masks[..., every, every]
    network = networks.build(
        name, len(store.modalities), generator=torch.Generator().manual_seed(seed), width=arguments.width
    )
    network = network if shifted else plain_kernels(network)
    recipe = Recipe(epochs=epochs, batch_size=arguments.batch, learning_rate=arguments.rate, precision=precision)
    batches = Batches(
        images,
        masks,
        choose_slices(store.columns, split.train[: arguments.patients], "paper", torch.Generator().manual_seed(seed)),
        batch_size=recipe.batch_size,
        augment=recipe.augment,
        generator=torch.Generator().manual_seed(seed),
        device=CPU,
    )
    for _ in fit(network, batches, recipe):
        pass
    found = []
    for patient in split.test:
        rows = np.concatenate([store.rows(case) for _, case in store.cases_of([patient])])
        target, prediction = masks[rows] > 0, predict(network, images[rows], device=CPU, precision=precision)
        found.append(2 * (target & prediction).sum() / (target.sum() + prediction.sum()))  # every patient has a target
    return float(np.mean(found))


def compared(name: str, path: str, epochs: int, found: list[float], plain: list[float]) -> Row:
    differences = [ours - theirs for ours, theirs in zip(found, plain, strict=True)]
    noise = statistics.stdev(plain)
    half = stats.t.ppf(0.975, len(plain) - 1) * statistics.stdev(differences) / math.sqrt(len(plain))
    mean = statistics.mean(differences)
    within = abs(mean) + half <= noise
    return Row(
        what=f"final Dice, {name}, {path}, {epochs} epochs: farthest end of the 95 % interval of the difference, "
        "in seed noises",
        unit="SD",
        values=((abs(mean) + half) / noise,),
        most=1.0,
        against="plain float32 eager, paired over seeds",
        note=f"Dice {statistics.mean(plain):.4f} {mean:+.4f} ± {half:.4f} (95 %, {len(plain)} seeds: "
        + " ".join(f"{one:+.4f}" for one in differences)
        + f"); seed noise {noise:.4f}: {'within it' if within else 'not shown to be within it'}",
    )


class Trainings:
    """Final Dice of the trainings that have ended, one line of JSON each; kept in memory alone without a file."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._file: Path | None = arguments.kept
        self._settings = {name: getattr(arguments, name) for name in SETTINGS}
        lines = self._file.read_text().splitlines() if self._file and self._file.exists() else []
        self._found: dict[str, float] = {self._key(told): told["dice"] for told in map(json.loads, lines)}

    def has(self, **which: object) -> bool:
        return self._key({**self._settings, **which}) in self._found

    def get(self, **which: object) -> float:
        return self._found[self._key({**self._settings, **which})]

    def add(self, found: float, **which: object) -> None:
        print("  " + ", ".join(f"{value}" for value in which.values()) + f": {found:.4f}", file=sys.stderr, flush=True)
        self._found[self._key({**self._settings, **which})] = found
        if self._file:
            with self._file.open("a") as file:
                file.write(json.dumps({**self._settings, **which, "dice": found}) + "\n")

    @staticmethod
    def _key(told: Mapping[str, object]) -> str:
        return json.dumps({name: value for name, value in told.items() if name != "dice"}, sort_keys=True)


def measure(arguments: argparse.Namespace) -> Iterator[Row]:
    kept = Trainings(arguments)
    spawn = multiprocessing.get_context("spawn")
    seeds, epochs = (_by_network(told) for told in (arguments.seeds, arguments.epochs))
    with ProcessPoolExecutor(arguments.processes, mp_context=spawn) as pool:
        for name, count in seeds.items():
            ways = WAYS[name]
            paths = {"plain": PLAIN, **ways}
            trained = [  # seed by seed, so that what is kept is paired whenever the run ends
                {"network": name, "epochs": epochs[name], "seed": seed, "path": path}
                for seed in range(count)
                for path in paths
            ]
            asked = [
                (which, pool.submit(dice, name, paths[which["path"]], which["seed"], epochs[name], arguments))
                for which in trained
                if not kept.has(**which)
            ]
            for which, training in asked:
                kept.add(training.result(), **which)
            found = {path: [kept.get(**which) for which in trained if which["path"] == path] for path in paths}
            yield from (compared(name, path, epochs[name], found[path], found["plain"]) for path in ways)


def _by_network(told: str) -> dict[str, int]:
    """`unet=10,fpa=5` as a mapping."""
    return {name: int(value) for name, _, value in (word.partition("=") for word in told.split(","))}


if __name__ == "__main__":
    parser = options(
        __doc__,
        seeds="unet=10,fpa=5",
        epochs="unet=12,fpa=4",
        patients=40,
        batch=8,
        width=8,
        shrink=2,
        rate=3e-3,
        processes=2,
    )
    parser.add_argument("--kept", type=Path, metavar="FILE", help="go on with the trainings that it holds")
    arguments = parser.parse_args()
    sys.exit(finish(__file__, measure(arguments), arguments))
