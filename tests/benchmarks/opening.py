"""Start-up on a prepared store, and memory while it is read, for stores of several sizes.

    python tests/benchmarks/opening.py [--slices 2000 20000] [--repeats 5]

Prepares phantom stores of 4×160×160 (20,000 slices take 4.6 GB of disk for the time of the run). Each measurement is
a process of its own: it opens the store by its data set's name, draws folds, chooses the training slices of one fold
and takes its first batch; then it takes as many more as the smallest store has. Of the memory, "held" is the
process's own; "mapped" are pages of files: of libraries, and of the store those that it has not let go yet.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

DEPTH, PLANE, BATCH = 155, 32, 50  # a patient's slices; planes are padded to the store's 160×160


def make(slices: int, home: Path) -> None:
    """A store under its own PAM_HOME."""
    from pam.data.prepare import prepare
    from pam.datasets import DATASETS, phantom

    os.environ["PAM_HOME"] = str(home)
    with tempfile.TemporaryDirectory() as source:
        phantom.write_tree(Path(source), patients=max(5, slices // DEPTH), shape=(DEPTH, PLANE, PLANE))
        prepare(replace(DATASETS.build("brats2018"), size=(160, 160)), Path(source))


def measure(batches: int) -> dict[str, float]:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, nargs="+", default=[2000, 20000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--measure", type=int, metavar="BATCHES", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}")
    batches = min(arguments.slices) // BATCH
    with tempfile.TemporaryDirectory() as folder:
        for count in arguments.slices:
            home = Path(folder) / str(count)
            make(count, home)
            command = [sys.executable, __file__, "--measure", str(batches)]
            environment = {**os.environ, "PAM_HOME": str(home), "OMP_NUM_THREADS": "1"}
            found = [
                json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
                for _ in range(arguments.repeats + 1)
            ][1:]  # the first reads the files from the disk and draws the folds
            middle = {key: statistics.median(one[key] for one in found) for key in found[0]}
            print(
                f"{middle['slices']:.0f} slices: imports {middle['import']:.2f} s, then {middle['open']:.2f} s to the "
                f"first batch; after {batches} batches {middle['RssAnon']:.0f} MB held, "
                f"{middle['RssFile']:.0f} MB mapped (median of {len(found)} processes)"
            )


if __name__ == "__main__":
    main()
