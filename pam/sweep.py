"""`python -m pam.sweep STUDY`: train what is missing of a study."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Sequence
from typing import Any

from pam import cli, study
from pam.driver import Outcome, Request, sweep
from pam.errors import StudyError
from pam.track import ui_hint


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parse(argv)
    if arguments.list:
        for name in study.names():
            print(f"{name}: {study.load(name).question}")
        return 0
    if arguments.study is None:
        raise StudyError(f"no study named; there are: {', '.join(study.names())}")
    request = Request(
        study=study.load(arguments.study),
        dataset=arguments.dataset,
        folds=arguments.folds,
        seeds=arguments.seeds,
        only=arguments.only,
        settings=dict(map(_setting, arguments.set)),
        demo=arguments.demo,
        address=arguments.address,
        cpus=arguments.cpus,
        gpus=arguments.gpus,
    )
    outcome = sweep(request)
    print(_summary(outcome))
    return 1 if outcome.failed else cli.INTERRUPTED if outcome.interrupted else 0


def _summary(outcome: Outcome) -> str:
    what = f"{outcome.study} on {outcome.data}"
    if outcome.found == outcome.asked:
        lines = [f"{what}: all {outcome.asked} cells were done already, nothing to train"]
    else:
        lines = [f"{what}: {outcome.finished} cells trained, {outcome.found} were done already, of {outcome.asked}"]
    lines += [f"failed: {cell}: {text.strip().splitlines()[-1]}" for cell, text in outcome.failed.items()]
    if outcome.interrupted:
        lines.append(f"interrupted: {outcome.interrupted} cells to go; the same command goes on with them")
    if outcome.mirror_behind:
        lines.append(f"MLflow is behind ({outcome.mirror_behind}); the same command fills it")
    lines.append(f"MLflow: {ui_hint()}")
    return "\n".join(lines)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.Parser(prog="python -m pam.sweep", description="Train what is missing of a study.")
    parser.add_argument("study", nargs="?", help="a study's name, or the path of its file")
    parser.add_argument("--list", action="store_true", help="print the studies and their questions")
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
        help="a recipe field or network option, for every row",
    )
    parser.add_argument("--address", help="the Ray cluster's address (default: RAY_ADDRESS, else this machine)")
    parser.add_argument("--cpus", type=int, default=1, help="CPUs per cell (default: 1)")
    parser.add_argument(
        "--gpus", type=float, help="GPUs per cell, a fraction or whole (default: 1 where there are any)"
    )
    return parser.parse_args(argv)


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


if __name__ == "__main__":
    cli.run(main)
