"""Does a fast path change what is learned? Final Dice of each against plain float32, seed by seed, on real scans.

    python -m pam.prepare lgg --source kaggle_3m          # once
    python tests/benchmarks/quality.py [--seeds unet=32,fpa=32] [--epochs unet=12,fpa=4] [--shrink 2] [--processes 2]

Every way trains through `pam.train.fit`, with the same first weights, slices and batches for a seed; the test patients
are the same for all. Plain float32 is what PyTorch does by itself: no autocast, its own dilated kernel. Each training
has one thread; `--processes` of them run at once, which changes no result. `--shrink 2` takes every second row and
column, `--patients` so many to train on. A path is within the seed noise if the 95 % interval (t, paired over seeds) of
the mean difference lies within ± the standard deviation of plain float32 over seeds. Two ways may end as far apart as
two seeds of one, however alike they are, and then fewer than some thirty pairs show nothing. That takes hours: what has
ended is added to `--kept FILE`, `reports/benchmarks/quality.jsonl` unless told, and the same command goes on
there, today or later. The note of a row tells the difference in Dice of each seed.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import multiprocessing
import statistics
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measured import REPORT, Row, finish, machine, options
from scipy import stats
from torch import nn

from pam import networks
from pam.data import store as stores
from pam.data.batches import Batches, choose_slices
from pam.evaluate import predict
from pam.networks.convolution import DilatedDepthwise
from pam.study import RESULTS_VERSION, Recipe
from pam.train import fit

CPU = torch.device("cpu")
KEPT = REPORT / "quality.jsonl"
Which = Mapping[str, Any]  # network, epochs, seed and path of a training
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


def compared(name: str, path: str, epochs: int, found: list[float], plain: list[float], where: str) -> Row:
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
        note=f"Dice {statistics.mean(plain):.4f} {mean:+.4f} ± {half:.4f} (95 %, {len(plain)} seeds); "
        f"seed noise {noise:.4f}: {'within it' if within else 'not shown to be within it'}"
        + (f"; {where}" if where else ""),
    )


class Trainings:
    """Final Dice of the trainings that have ended, one line of JSON each, with the processor that did it."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._file: Path = arguments.kept
        self._settings = {"version": RESULTS_VERSION, **{name: getattr(arguments, name) for name in SETTINGS}}
        lines = self._file.read_text(encoding="utf-8").splitlines() if self._file.exists() else []
        self._found = {self._key(told): told for told in map(json.loads, lines)}  # of a training, the last one
        self._cpu = str(machine()["hardware"]["cpu"])

    def to_do(self, paths: Sequence[Which]) -> list[Which]:
        """Those of a seed's trainings that have not ended; all must be of one processor, or they are no pairs."""
        found = {self.cpu(which) for which in paths}
        paired = len(found) == 1 and None not in found
        return [] if paired else [which for which in paths if self.cpu(which) != self._cpu]

    def cpu(self, which: Which) -> str | None:
        """The processor that did a training; None if it has not ended."""
        told = self._found.get(self._key({**self._settings, **which}))
        return told and told["cpu"]

    def dice(self, which: Which) -> float:
        return float(self._found[self._key({**self._settings, **which})]["dice"])

    def add(self, which: Which, found: float) -> None:
        print("  " + ", ".join(map(str, which.values())) + f": {found:.4f}", file=sys.stderr, flush=True)
        told = {**self._settings, **which, "cpu": self._cpu, "dice": found}
        self._found[self._key(told)] = told
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(told) + "\n")

    @staticmethod
    def _key(told: Which) -> str:
        return json.dumps({name: told[name] for name in sorted(told) if name not in ("cpu", "dice")})


def measure(arguments: argparse.Namespace) -> Iterator[Row]:
    kept = Trainings(arguments)
    spawn = multiprocessing.get_context("spawn")
    seeds, epochs = (_by_network(told) for told in (arguments.seeds, arguments.epochs))
    with ProcessPoolExecutor(arguments.processes, mp_context=spawn) as pool:
        for name, count in seeds.items():
            paths = {"plain": PLAIN, **WAYS[name]}
            trained = {
                path: [{"network": name, "epochs": epochs[name], "seed": seed, "path": path} for seed in range(count)]
                for path in paths
            }
            asked = [  # seed by seed, so that what is kept is paired whenever the run ends
                (which, pool.submit(dice, name, paths[which["path"]], which["seed"], epochs[name], arguments))
                for of_seed in zip(*trained.values(), strict=True)
                for which in kept.to_do(of_seed)
            ]
            for which, training in asked:
                kept.add(which, training.result())
            plain = [kept.dice(which) for which in trained["plain"]]
            cpus = Counter(map(kept.cpu, trained["plain"]))
            where = "; ".join(f"{times} seeds on {cpu}" for cpu, times in cpus.items()) if len(cpus) > 1 else ""
            for path in WAYS[name]:
                yield compared(name, path, epochs[name], [kept.dice(which) for which in trained[path]], plain, where)


def _by_network(told: str) -> dict[str, int]:
    """`unet=32,fpa=16` as a mapping."""
    return {name: int(value) for name, _, value in (word.partition("=") for word in told.split(","))}


if __name__ == "__main__":
    parser = options(
        __doc__,
        seeds="unet=32,fpa=32",
        epochs="unet=12,fpa=4",
        patients=40,
        batch=8,
        width=8,
        shrink=2,
        rate=3e-3,
        processes=2,
    )
    parser.add_argument(
        "--kept", type=Path, default=KEPT, metavar="FILE", help="go on with the trainings that it holds"
    )
    arguments = parser.parse_args()
    sys.exit(finish(__file__, measure(arguments), arguments))
