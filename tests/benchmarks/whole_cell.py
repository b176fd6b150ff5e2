"""A whole cell, from data to its entry in the ledger, against its training alone, on real scans.

    python -m pam.prepare lgg --source kaggle_3m          # once
    python tests/benchmarks/whole_cell.py [--networks unet,fpa] [--epochs 2] [--runs 5]

Cells of the first fold (88 patients to train on, 22 to test) run as `pam.train` runs them, into a ledger of their own.
Training alone are the seconds that the epochs tell; the rest is what comes before and after: building, checkpoints, the
prediction of every test slice, scores of slices and cases with HD95, attention maps, the ledger. It comes once in a
cell, so its share falls with every epoch: the paper trains 80.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator

import torch
from measured import Row, finish, options, short

from pam import cells, ledger, provenance
from pam.data import store as stores
from pam.study import Study, Variant
from pam.sweep.plan import plan

MOST, PAPER = 1.1, 80  # times the training alone; epochs of the paper


def measure(arguments: argparse.Namespace) -> Iterator[Row]:
    store, told, epochs = stores.find("lgg"), provenance.collect(), arguments.epochs
    slices, (height, width) = len(store.images), store.images.shape[-2:]
    for name in arguments.networks.split(","):
        study = Study(
            question="What does a cell take beside its training?",
            dataset="lgg",
            reference=Variant(name, {"width": arguments.width}),
            variants=(),
            seeds=arguments.runs,
            recipe={"epochs": epochs, "batch_size": arguments.batch},
        )
        taken = []
        with tempfile.TemporaryDirectory(prefix="whole_cell-") as folder:
            os.environ["PAM_HOME"] = folder
            for cell, split in plan(study, store, folds=[0]):
                start = time.perf_counter()
                done = cells.run(cell, store, split, device=torch.device("cpu"), provenance=told, record=ledger.add)
                training = sum(epoch.seconds for epoch in done)
                taken.append((training, time.perf_counter() - start))
        epoch = statistics.median(training for training, _ in taken) / epochs
        rest = statistics.median(whole - training for training, whole in taken)
        yield Row(
            what=f"whole cell with evaluation, CPU, {name}, width {arguments.width}, {epochs} epochs on LGG "
            f"({len(store.patients)} patients, {slices:,} slices of {height}×{width}): seconds of it to training's",
            values=tuple(whole / training for training, whole in taken),
            taken=tuple(taken),
            most=MOST,
            against="the same cell's training alone",
            note=f"beside training {short(rest)} s; at {PAPER} epochs {1 + rest / (PAPER * epoch):.3f} ×",
        )


if __name__ == "__main__":
    parser = options(__doc__, networks="unet,fpa", threads=2, epochs=2, batch=50, width=8, runs=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    sys.exit(finish(__file__, measure(arguments), arguments))
