"""Start-up on a prepared store, and memory while it is read, for stores of several sizes.

    python tests/benchmarks/opening.py [--slices 2000,20000] [--repeats 5]

Prepares phantom stores of 4×160×160 (20,000 slices take 4.6 GB of disk for the time of the run). Each measurement is
a process of its own: it opens the store by its data set's name, draws folds, chooses the training slices of one fold
and takes its first batch; then it takes as many more as the smallest store has. Of the memory, "held" is the
process's own; "mapped" are pages of files: of libraries, and of the store those that it has not let go yet.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

from measured import Row, finish, options, short

SECONDS = 1.0  # to the first batch
DEPTH, PLANE, BATCH = 155, 32, 50  # a patient's slices; planes are padded to the store's 160×160


def make(slices: int, home: Path) -> None:
    """A store under its own PAM_HOME."""
    from pam.data.prepare import prepare
    from pam.datasets import DATASETS, phantom

    os.environ["PAM_HOME"] = str(home)
    with tempfile.TemporaryDirectory() as source:
        phantom.write_tree(Path(source), patients=max(5, slices // DEPTH), shape=(DEPTH, PLANE, PLANE))
        prepare(replace(DATASETS.build("brats2018"), size=(160, 160)), Path(source))


def opened(batches: int) -> dict[str, float]:
    """Of this process."""
    start = time.perf_counter()
    import torch

    from pam.data import batches as feeding
    from pam.data import store as stores

    imported = time.perf_counter()
    store = stores.find("brats2018")
    fold = store.folds(5)[0]
    generator = torch.Generator().manual_seed(0)
    rows = feeding.choose_slices(store.columns, fold.train, "all", generator)
    feed = feeding.Batches(
        store.images, store.masks, rows, batch_size=BATCH, augment=(), generator=generator, device=torch.device("cpu")
    )
    next(iter(feed))
    ready = time.perf_counter()
    for _ in islice((batch for _ in cycle([0]) for batch in feed), batches):
        pass
    status = Path("/proc/self/status").read_text()
    memory = {key: int(re.search(rf"{key}:\s+(\d+) kB", status)[1]) / 1024 for key in ("RssAnon", "RssFile")}
    return {"slices": len(store.images), "import": imported - start, "open": ready - imported, **memory}


def measure(arguments: argparse.Namespace) -> Iterator[Row]:
    sizes = [int(text) for text in arguments.slices.split(",")]
    batches = min(sizes) // BATCH
    held = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in sizes:
            home = Path(folder) / str(count)
            make(count, home)
            command = [sys.executable, __file__, "--opened", str(batches)]
            environment = {**os.environ, "PAM_HOME": str(home), "OMP_NUM_THREADS": "1"}
            found = [
                json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
                for _ in range(arguments.repeats + 1)
            ][1:]  # the first reads the files from the disk and draws the folds
            held[count] = tuple(one["RssAnon"] for one in found)
            mapped, imports = (statistics.median(one[key] for one in found) for key in ("RssFile", "import"))
            yield Row(
                what=f"opening a store of {found[0]['slices']:,.0f} slices, to the first batch",
                unit="s",
                values=tuple(one["open"] for one in found),
                most=SECONDS,
                note=f"beside {short(imports)} s of imports; after {batches} batches "
                f"{short(statistics.median(held[count]))} MB held, {short(mapped)} MB of files mapped",
            )
    yield Row(
        what=f"memory held after {batches} batches, with {sizes[-1]:,} slices against {sizes[0]:,}",
        values=tuple(large / small for small, large in zip(held[sizes[0]], held[sizes[-1]], strict=True)),
    )


if __name__ == "__main__":
    parser = options(__doc__, slices="2000,20000", repeats=5)
    parser.add_argument("--opened", type=int, metavar="BATCHES", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.opened:
        print(json.dumps(opened(arguments.opened)))
    else:
        sys.exit(finish(__file__, measure(arguments), arguments))
