"""`python -m pam.prepare DATASET --source DIR`: read, check and store a data set's slices."""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from pam import cli, data_report, files, memory
from pam.counts import counted
from pam.data import store as stores
from pam.data.check import check
from pam.data.prepare import Progress as Progressed
from pam.data.prepare import prepare
from pam.data.processes import usable_cores
from pam.data.store import Store
from pam.datasets import DATASETS, Dataset
from pam.errors import DataError
from pam.files import write_text

Announce = Callable[[object], None]
OPTIONS = (
    "An option is set by --set KEY=VALUE and makes a data set of its own, which studies and sweeps name so:\n"
    "  python -m pam.prepare brats2018 --set target=wt --source DIR\n"
    "  python -m pam.sweep STUDY --dataset brats2018:target=wt"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare or check a data set, or list them all."""
    arguments = _parse(argv)
    if arguments.list:
        print("\n\n".join([*map(_describe, DATASETS.names()), OPTIONS]))
        return 0
    if arguments.dataset is None:
        raise DataError(f"no data set named; there are: {', '.join(DATASETS.names())}")
    dataset = DATASETS.build(arguments.dataset, **dict(arguments.set))
    console = Console(highlight=False, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("looking for cases", total=None)

        def progress(what: str, done: int, total: int) -> None:
            bar.update(task, description=f"{what} cases", completed=done, total=total)

        act = _check if arguments.check else _show if arguments.show else _prepare
        lines = act(dataset, arguments, progress, console.print)
    console.print(lines)
    return 0


def _prepare(dataset: Dataset, arguments: argparse.Namespace, progress: Progressed, announce: Announce) -> str:
    return _prepared(dataset, arguments, progress, announce)[1]


def _prepared(
    dataset: Dataset, arguments: argparse.Namespace, progress: Progressed, announce: Announce
) -> tuple[Store, str]:
    """The store, and what to say of it."""
    start = time.perf_counter()
    store = prepare(
        dataset,
        arguments.source,
        workers=arguments.workers,
        progress=progress,
        announce=announce,
        skip_bad=arguments.skip_bad,
    )
    return store, _summary(store, time.perf_counter() - start)


def _show(dataset: Dataset, arguments: argparse.Namespace, progress: Progressed, announce: Announce) -> str:
    """Prepare the data set if a source is given, or if it is a phantom, and make its page."""
    if arguments.source is None and not dataset.phantom:
        store = stores.find(dataset.name)
    else:
        store, words = _prepared(dataset, arguments, progress, announce)
        announce(words)
    written = data_report.write(store, (arguments.out or stores.folder(store.dataset)).absolute(), arguments.split)
    return "\n".join(f"written: {files.address(path)}" for path in written)


def _check(dataset: Dataset, arguments: argparse.Namespace, progress: Progressed, announce: Announce) -> str:
    """Show and write the table of problems. Raises `DataError` if one is an error."""
    if arguments.source is None:
        raise DataError(f"--check needs a source folder (--source DIR); expected {dataset.expects}")
    workers = arguments.workers or usable_cores()
    checked = check(dataset, arguments.source, workers=workers, progress=partial(progress, "checking"))
    table = checked.table
    dataset = dataset.at(arguments.source)
    path = (arguments.csv or stores.folder(dataset.name) / "problems.csv").absolute()
    write_text(path, table.to_csv(index=False))
    if len(table):
        announce(_rich_table(table))
    errors = int((table.severity == "error").sum())
    if errors:
        raise DataError(
            f"{arguments.source}: {counted(errors, 'error')} in {len(checked.bad)} of "
            f"{counted(len(checked.cases), 'case')}; mend them or leave these cases out "
            f"with --skip-bad; listed in {files.address(path)}"
        )
    found = f"{counted(len(checked.cases), 'case')} of {dataset.title} checked"
    return f"{found}: no error, {counted(len(table), 'warning')}; listed in {files.address(path)}"


def _rich_table(table: pd.DataFrame) -> Table:
    shown = Table(box=SIMPLE)
    for name in ("severity", "case", "file", "problem"):
        shown.add_column(name, overflow="fold")  # a name cut short would not tell which file it is
    for severity, case, path, problem in table[["severity", "case", "path", "problem"]].astype(str).to_numpy():
        shown.add_row(*map(escape, (severity, case, Path(path).name, problem)))
    return shown


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.Parser(prog="python -m pam.prepare", description="Read, check and store a data set's slices.")
    parser.add_argument("dataset", nargs="?", help="a data set's name; see --list")
    parser.add_argument("--source", type=Path, metavar="DIR", help="the folder of its files; a phantom needs none")
    parser.add_argument("--list", action="store_true", help="list the data sets and what each expects")
    parser.add_argument("--check", action="store_true", help="list all problems of all cases; prepare nothing")
    parser.add_argument("--show", action="store_true", help="make a page of the prepared data, to look at")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where --show writes (default: beside the store)")
    parser.add_argument("--split", metavar="CHOICE", help="the one split that --show shows, such as nnunet=FILE")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="where --check writes its table")
    parser.add_argument("--skip-bad", action="store_true", help="check first, and leave out the cases with errors")
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
    defaults = DATASETS.options(name)
    options = [
        f"  option {key}: {words}" + (f" (default {defaults[key]})" if defaults[key] else "")
        for key, words in DATASETS.expectations(name).items()
    ]
    return f"{name}: {dataset.title}, {dataset.target}; {', '.join(dataset.modalities)}\n" + "\n".join(
        [f"  expects {dataset.expects}", *options]
    )


def _summary(store: Store, seconds: float) -> str:
    index = store.index
    cut = f"{store.target_cut} target voxels lie outside the crop and are not scored\n" if store.target_cut else ""
    left = "".join(f"left out: case {case['case']}: {case['errors'][0]}\n" for case in store.left_out)
    note = f"note: {store.note}\n" if store.note else ""
    float16 = (
        f"float16 blurs the middle half of a modality by {store.float16_loss:.3%} of its spread at most; "
        f"no value lies more than {store.largest:.1f} standard deviations from the mean\n"
    )
    counts = f"{counted(len(store.patients), 'patient')}, {counted(len(store.cases), 'case')}"
    sizes = " × ".join(map(str, store.images.shape[1:]))
    return (
        f"{store.label}, {store.target}: {counts}, {counted(len(index), 'slice')} "
        f"({sizes}), {int((index.target_pixels > 0).sum())} with target\n"
        f"{float16}{cut}{left}{note}took {seconds:.1f} s, peak memory {_peak_memory_mb():.0f} MB per process\n"
        f"stored in {files.address(store.path)}\n"
        f"named {store.dataset} in studies and by --dataset"
    )


def _peak_memory_mb() -> float:
    """Of the largest process: this one or a worker."""
    workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return max(memory.peak_mb(), workers)  # its own usage would count that of whoever started it, before it began


if __name__ == "__main__":
    cli.run(main)
