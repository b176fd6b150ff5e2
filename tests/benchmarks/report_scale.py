"""What a report of a large study takes: seconds, memory, and how both grow with the number of cells.

    python tests/benchmarks/report_scale.py [--cells 150,300,600] [--rows-per-cell 42x65]

For each size a ledger is synthesised (5 folds × 3 seeds × as many rows as that takes, scores drawn at random), then
`python -m pam.report` runs on it in a process of its own. The cost per cell is that of further cells: what an empty
report takes is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from measured import Row, finish, options

from pam import home, ledger, views
from pam.cells import describe
from pam.data.view import packed
from pam.evaluate import in_unit
from pam.metrics import STATES, score
from pam.study import Cell, Study, load

SECONDS, GIGABYTES, GROWTH = 60.0, 2.0, 1.3
FOLDS, SEEDS, SIDE = 5, 3, 160
STUDY = """
from pam.study import Claim, Study, Variant

ROWS = [Variant("fpa", {{"dilation": 2 + i}}) for i in range({rows} - 1)]
STUDY = Study(
    question="How long does a report take?",
    dataset="brats2018",
    reference=Variant("unet"),
    variants=tuple(ROWS),
    folds={folds},
    seeds={seeds},
    claims=(Claim(id="C1", text="the first beats unet", row=ROWS[0].name, over=("unet",)),),
)
"""


def disc(centre: int, radius: int) -> np.ndarray:
    y, x = np.mgrid[:SIDE, :SIDE]
    return np.hypot(y - centre, x - centre) < radius


MASKS = [packed(disc(80 + 3 * i, 6 + 2 * i)) for i in range(8)]


def scores(count: int, generator: np.random.Generator, unit: str) -> pd.DataFrame:
    """Rows such as `pam.metrics.score_slices` gives: half with both masks, the others with one or none."""
    size = SIDE * SIDE
    states = generator.choice(4, size=count, p=[0.5, 0.05, 0.05, 0.4])
    target = np.where((states == 0) | (states == 1), generator.integers(1, 900, count), 0)
    predicted = np.where((states == 0) | (states == 2), generator.integers(1, 900, count), 0)
    tp = np.where(states == 0, (np.minimum(target, predicted) * generator.random(count)).astype(int), 0)
    fp, fn = predicted - tp, target - tp
    tn = size - tp - fp - fn
    with np.errstate(invalid="ignore", divide="ignore"):
        foreground, background = tp / (tp + fp + fn), tn / (tn + fp + fn)
        ratios = {
            "iou_foreground": foreground,
            "iou_background": background,
            "iou": (foreground + background) / 2,
            "dice": 2 * tp / (2 * tp + fp + fn),
            "precision": tp / (tp + fp),
            "recall": tp / (tp + fn),
            "fp_rate": fp / (fp + tn),
            "fn_rate": fn / (fn + tp),
        }
    distances = np.where(states == 0, generator.gamma(1.0, 8.0, count), np.nan)
    names = list(in_unit(score(np.ones((1, 1), bool), np.ones((1, 1), bool), (1.0, 1.0)), unit))
    counts = {"tp": tp, "fp": fp, "fn": fn, "tn": tn, "target_size": target, "predicted_size": predicted}
    frame = pd.DataFrame({"state": np.array(STATES)[states], **counts, **ratios})
    for name in names:
        if name not in frame:
            frame[name] = distances
    return frame[names]


def entry(cell: Cell, patients: int, slices: int) -> ledger.Entry:
    generator = np.random.default_rng([cell.fold, cell.seed, sum(cell.id.encode())])
    who = [f"fold {cell.fold} patient {i:03d}" for i in range(patients)]
    by_slice = scores(patients * slices, generator, "px")
    by_slice.insert(0, "slice", np.tile(np.arange(slices), patients))
    by_case = scores(patients, generator, "mm")
    by_case.insert(0, "slices", slices)
    for frame, names in ((by_slice, np.repeat(who, slices)), (by_case, np.array(who))):
        frame.insert(0, "case", names)
        frame.insert(0, "patient", names)
    told = {"git_commit": "e15de6a", "parameters": 3_129_248, "train_seconds": 70.5, "peak_memory_mb": 812.0}
    told |= {"started": "2026-11-01T12:00:00+00:00"}
    epochs = pd.DataFrame({"epoch": [1], "loss": [0.5], "learning_rate": [1e-4], "seconds": [70.5]})
    predictions = by_slice[["patient", "case", "slice"]].assign(height=SIDE, width=SIDE)
    return ledger.Entry(
        cell=describe(cell),
        provenance={**told, "device": "synthetic"},
        slices=by_slice,
        cases=by_case,
        epochs=epochs,
        predictions=predictions.assign(mask=[MASKS[i] for i in generator.integers(0, len(MASKS), len(by_slice))]),
    )


def write_views(patients: int, slices: int) -> None:
    """A slice of noise for each case, so that every figure of cases is drawn."""
    generator = np.random.default_rng(0)
    place = {"slice": slices // 2, "height": SIDE, "width": SIDE, "turned": True, "modality": "T1ce"}
    rows = []
    for name in (f"fold {fold} patient {i:03d}" for fold in range(FOLDS) for i in range(patients)):
        image = generator.integers(0, 255, (SIDE, SIDE)).astype(np.uint8).tobytes()
        rows.append({"case": name, "patient": name, **place, "image": image, "target": MASKS[0]})
    path = views.path_of("synthetic")
    path.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def synthesise(study: Study, patients: int, slices: int) -> None:
    write_views(patients, slices)
    cells = [replace(cell, data_hash="synthetic", split_hash=f"split {cell.fold}") for cell in study.cells()]
    for cell in cells:
        ledger.write(entry(cell, patients, slices))
    manifest = {
        "study": study.name,
        "question": study.question,
        "dataset": study.dataset,
        "title": "synthetic scores",
        "phantom": True,
        "demo": False,
        "settings": {},
        "folds": study.folds,
        "seeds": study.seeds,
        "data_hash": "synthetic",
        "written": "2026-11-24T12:00:00+00:00",
        "cells": list(map(describe, cells)),
    }
    path = home.studies() / study.name / f"{study.dataset}.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(manifest))


def reported(cells: int, patients: int, slices: int) -> tuple[float, float]:
    """Seconds and peak GB of `pam.report`."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PAM_HOME"] = folder
        path = Path(folder) / "large.py"
        path.write_text(STUDY.format(rows=cells // (FOLDS * SEEDS), folds=FOLDS, seeds=SEEDS))
        synthesise(load(str(path)), patients, slices)
        command = [sys.executable, "-m", "pam.report", str(path), "--out", f"{folder}/out"]
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(process.pid, 0)
        if status:
            sys.exit(f"{' '.join(command)} failed")
        return time.perf_counter() - start, used.ru_maxrss / 2**20


def measure(arguments: argparse.Namespace) -> Iterator[Row]:
    patients, slices = map(int, arguments.rows_per_cell.split("x"))
    sizes = [int(text) for text in arguments.cells.split(",")]
    reported(sizes[0], patients, slices)  # imports, page cache
    found = {}
    for cells in sizes:
        found[cells] = reported(cells, patients, slices)
        seconds, gigabytes = found[cells]
        last = cells == sizes[-1]
        what = f"report of {cells} cells × {patients} patients × {slices} slices"
        yield Row(what=what, unit="s", values=(seconds,), most=SECONDS if last else None)
        if last:
            yield Row(what=f"{what}: peak memory", unit="GB", values=(gigabytes,), most=GIGABYTES)
    base, *larger = sizes
    slopes = [(found[cells][0] - found[base][0]) / (cells - base) for cells in larger]
    if len(slopes) > 1:
        if min(slopes) <= 0:
            sys.exit(f"further cells took no time ({found}): other work disturbed this run, measure again")
        yield Row(
            what=f"report: seconds per further cell, up to {sizes[-1]} cells against up to {larger[0]}",
            values=(slopes[-1] / slopes[0],),
            most=GROWTH,
            note=f"{1000 * slopes[-1]:.1f} ms per further cell",
        )


if __name__ == "__main__":
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, "this system does not tell peak memory"
    parser = options(__doc__)
    parser.add_argument("--cells", default="150,300,600", help="sizes, multiples of 15; the first is the base")
    parser.add_argument("--rows-per-cell", default="42x65", help="patients x slices")
    arguments = parser.parse_args()
    sys.exit(finish(__file__, measure(arguments), arguments))
