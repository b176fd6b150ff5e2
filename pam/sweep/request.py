"""Which cells a command is asked for: its arguments, and the study, data and cells that they come to."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pam import study as studies
from pam.data import split_choice
from pam.data.folds import Split
from pam.data.store import Store, find
from pam.datasets import DATASETS
from pam.errors import DataError, StudyError
from pam.study import Cell, Study
from pam.sweep.plan import apply_settings, check, plan, split_of, splits_of

# The demo's smaller study: enough folds for error bars, small enough to wait for. Of the seeds a third, so that a study
# that asks what a seed does still has several.
DEMO_FOLDS, DEMO_SEEDS_OF = 3, 3
DEMO_SETTINGS = {"width": 8}


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a command was asked for."""

    study: Study
    dataset: str | None = None  # another than the study's
    folds: Iterable[int] | None = None
    seeds: Iterable[int] | None = None
    only: Iterable[str] | None = None  # rows, see `Study.cells`
    settings: Mapping[str, Any] = field(default_factory=dict)
    demo: bool = False


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a request comes to."""

    study: Study  # with data set, settings and the demo's size applied, and as many folds as there are splits
    store: Store
    settings: Mapping[str, Any]
    demo: bool
    planned: list[tuple[Cell, Split]]  # the cells asked for, each with its split
    declared: list[Cell]  # all of the study
    split: Mapping[str, Any]  # how patients are split, see `pam.data.split_choice.describe`

    @property
    def cells(self) -> list[Cell]:
        return [cell for cell, _ in self.planned]


def resolve(request: Request) -> Asked:
    """The cells asked for, bound to prepared data. Raises `PamError` for anything that does not exist."""
    if request.study.search is not None:
        name = request.study.name
        raise StudyError(f"study {name!r} declares a search, not rows to train; run: python -m pam.search {name}")
    study, settings = settle(request)
    store = open_store(study.dataset)
    splits = splits_of(study, store)
    return Asked(
        study=replace(study, folds=len(splits)),
        store=store,
        settings=settings,
        demo=request.demo,
        planned=plan(study, store, folds=request.folds, seeds=request.seeds, only=request.only),
        declared=[cell for cell, _ in plan(study, store)],
        split=split_choice.describe(split_of(study, store), splits),
    )


def settle(request: Request) -> tuple[Study, dict[str, Any]]:
    """The study with the demo's size, data set and settings applied, and the settings; all of its names checked."""
    study, settings = request.study, dict(request.settings)
    if request.demo:
        stand_in = DATASETS.build(study.dataset).stand_in
        seeds = max(1, study.seeds // DEMO_SEEDS_OF)
        study = replace(study, dataset=stand_in, folds=DEMO_FOLDS, seeds=seeds)
        settings = DEMO_SETTINGS | settings
    if request.dataset:
        study = replace(study, dataset=request.dataset)
    study = apply_settings(study, settings)
    check(study)
    return study, settings


def open_store(name: str) -> Store:
    """The data set's newest store; a phantom's is made if need be."""
    dataset = DATASETS.build(name)
    if not dataset.phantom:
        return find(dataset.name)
    try:
        from pam.data.prepare import prepare  # noqa: PLC0415  # a prepared store is enough where its libraries lack
    except ImportError as error:
        try:
            return find(dataset.name)
        except DataError as absent:
            raise DataError(
                f"{absent}; that takes {error.name}: do it elsewhere and copy its PAM_HOME/prepared here"
            ) from error
    return prepare(dataset, None)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of every command that works on a study's cells."""
    parser.add_argument("study", nargs="?", help="a study's name, or the path of its file")
    parser.add_argument("--demo", action="store_true", help="a small version on phantom data that pam makes itself")
    parser.add_argument("--dataset", help="another prepared data set than the study's")
    parser.add_argument("--folds", type=_numbers, help="only these folds, such as 0,1")
    parser.add_argument("--seeds", type=_numbers, help="only these seeds, such as 0,1,2")
    parser.add_argument(
        "--only", action="append", metavar="WORDS", help='only rows that hold these words, such as "fpa dilation=9"'
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a recipe field or network option, for every row; or split=…, how patients are split",
    )


def of(arguments: argparse.Namespace) -> Request:
    """The request that parsed arguments make. Raises `StudyError` if they name no study, or one that is not there."""
    if arguments.study is None:
        raise StudyError(f"no study named; there are: {', '.join(studies.names())}")
    return Request(
        study=studies.load(arguments.study),
        dataset=arguments.dataset,
        folds=arguments.folds,
        seeds=arguments.seeds,
        only=arguments.only,
        settings=dict(map(_setting, arguments.set)),
        demo=arguments.demo,
    )


def _numbers(text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}; expected numbers such as 0,1,2") from error


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise StudyError(f"--set {text!r}: expected KEY=VALUE, such as --set epochs=10")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):  # a bare word is a string
        return key, value
