"""`python -m pam.prepare DATASET --source DIR`: read, check and store a data set's slices."""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pam import cli
from pam.data.prepare import prepare
from pam.data.store import Store
from pam.datasets import DATASETS
from pam.errors import DataError


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare a data set, or list them all."""
    arguments = _parse(argv)
    if arguments.list:
        print("\n\n".join(map(_describe, DATASETS.names())))
        return 0
    if arguments.dataset is None:
        raise DataError(f"no data set named; there are: {', '.join(DATASETS.names())}")
    dataset = DATASETS.build(arguments.dataset, **dict(arguments.set))
    start = time.perf_counter()
    console = Console(highlight=False, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("looking for cases", total=None)
        store = prepare(
            dataset,
            arguments.source,
            workers=arguments.workers,
            progress=lambda what, done, total: bar.update(
                task, description=f"{what} cases", completed=done, total=total
            ),
            announce=console.print,
        )
    console.print(_summary(store, time.perf_counter() - start))
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.Parser(prog="python -m pam.prepare", description="Read, check and store a data set's slices.")
    parser.add_argument("dataset", nargs="?", help="a data set's name; see --list")
    parser.add_argument("--source", type=Path, metavar="DIR", help="the folder of its files; a phantom needs none")
    parser.add_argument("--list", action="store_true", help="list the data sets and what each expects")
    parser.add_argument("--workers", type=_count, metavar="N", help="processes (default: one per usable core)")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        type=_option,
        metavar="KEY=VALUE",
        help="an option of the data set, such as target=wt",
    )
    return parser.parse_args(argv)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}; expected a number above 0")
    return int(text)


def _option(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r}; expected KEY=VALUE, such as target=wt")
    return key, value


def _describe(name: str) -> str:
    dataset = DATASETS.build(name)
    options = ", ".join(f"{key}={value}" for key, value in DATASETS.options(name).items())
    return (
        f"{name}: {dataset.title}, {dataset.target}; {', '.join(dataset.modalities)}\n"
        f"  expects {dataset.expects}" + (f"\n  options {options}" if options else "")
    )


def _summary(store: Store, seconds: float) -> str:
    index = store.index
    cut = f"{store.target_cut} target voxels lie outside the crop and are not scored\n" if store.target_cut else ""
    sizes = " × ".join(map(str, store.images.shape[1:]))
    return (
        f"{store.label}, {store.target}: {len(store.patients)} patients, {len(store.cases)} cases, {len(index)} slices "
        f"({sizes}), {int((index.target_pixels > 0).sum())} with target\n"
        f"{cut}took {seconds:.1f} s, peak memory {_peak_memory_mb():.0f} MB per process\n"
        f"stored in {store.path}"
    )


def _peak_memory_mb() -> float:
    """Of the largest process: this one or a worker."""
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return peak / (2**20 if sys.platform == "darwin" else 2**10)  # bytes there, KiB elsewhere


if __name__ == "__main__":
    cli.run(main)
