"""`python -m pam.sweep STUDY`: train what is missing of a study."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pam import cli, study
from pam.cells import CHECKPOINT_SECONDS
from pam.counts import counted
from pam.failures import KINDS
from pam.sweep import listing, request
from pam.sweep.driver import INTERRUPTED, KEEP, WEIGHTS, Outcome, Policy, sweep
from pam.sweep.packing import Placement
from pam.sweep.rehearsal import rehearse
from pam.track import ui_hint


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parse(argv)
    if arguments.list:
        for name in [arguments.study] if arguments.study else study.names():
            arguments.study = name
            print(listing.describe(request.of(arguments)), flush=True)
        return 0
    placement = Placement(
        address=arguments.address, cpus=arguments.cpus, gpus=arguments.gpus, cells_per_gpu=arguments.cells_per_gpu
    )
    if arguments.dry_run:
        tell = _tell if sys.stdout.isatty() else lambda _: None
        keep = arguments.keep == WEIGHTS
        print(rehearse(request.of(arguments), placement, tell, rerun=arguments.rerun, keep_weights=keep))
        return 0
    policy = Policy(
        rerun=arguments.rerun,
        max_failures=arguments.max_failures,
        checkpoint_seconds=arguments.checkpoint_seconds,
        keep=arguments.keep,
        disk_budget=arguments.disk_budget,
    )
    outcome = sweep(request.of(arguments), placement, policy)
    print(_summary(outcome))
    if outcome.stopped == INTERRUPTED:
        return cli.INTERRUPTED
    return 1 if outcome.failed or outcome.stopped or outcome.to_go or outcome.mirror_broken else 0


def _summary(outcome: Outcome) -> str:
    what = f"{outcome.study} on {outcome.data}"
    if outcome.found == outcome.asked:
        lines = [f"{what}: all done already ({counted(outcome.asked, 'cell')}), nothing to train"]
    else:
        lines = [
            f"{what}: {counted(outcome.finished, 'cell')} trained, {outcome.found} done already, of {outcome.asked}"
        ]
    lines += [f"{cell}: {failure.summary}" for cell, failure in outcome.failed.items()]
    shown = [str(failure.cell["id"])[:10] for failure in outcome.failed.values()]
    lines += [f"to see the log and traceback of the first: python -m pam.status {shown[0]}"] if shown else []
    for kind in KINDS:
        if count := sum(failure.kind == kind for failure in outcome.failed.values()):
            lines.append(f"{counted(count, 'cell')} {kind}; to train again: add --rerun {kind}")
    if outcome.stopped:
        lines.append(f"{outcome.stopped}: {counted(outcome.to_go, 'cell')} to go; the same command goes on with them")
    fill = f"python -m pam.track sync {outcome.study}"
    if outcome.mirror_broken:
        lines.append(f"the MLflow mirror broke ({outcome.mirror_broken}); once that is mended, to fill it: {fill}")
    elif outcome.mirror_behind:
        lines.append(f"MLflow is behind ({outcome.mirror_behind}); to fill it: {fill}")
    lines.append(f"MLflow: {ui_hint()}")
    return "\n".join(lines)


def _tell(words: str) -> None:
    """Show on a line of the terminal that the next one replaces."""
    print(f"\r\033[K{words}\r", end="", flush=True)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.Parser(prog="python -m pam.sweep", description="Train what is missing of a study.")
    request.add_arguments(parser)
    parser.add_argument(
        "--list", action="store_true", help="print the studies, or the one named: question, size, claims and cost"
    )
    parser.add_argument("--dry-run", action="store_true", help="measure what it would take, and train nothing")
    parser.add_argument("--address", help="the Ray cluster's address (default: RAY_ADDRESS, else this machine)")
    parser.add_argument("--cpus", type=int, default=1, help="CPUs per cell (default: 1)")
    parser.add_argument(
        "--gpus", type=float, help="GPUs per cell, a fraction or whole (default: 1 where there are any)"
    )
    parser.add_argument(
        "--cells-per-gpu",
        type=_sharing,
        metavar="N|auto",
        help="cells that share a GPU; auto: what its measured memory and time allow (default: the study's, else 1)",
    )
    parser.add_argument(
        "--keep",
        choices=KEEP,
        default=WEIGHTS,
        help="of a finished cell's checkpoints (default: %(default)s)",
    )
    parser.add_argument(
        "--disk-budget",
        type=float,
        metavar="GB",
        help="disk that the study's cells may take; at the limit the oldest weights go (default: the study's)",
    )
    parser.add_argument(
        "--rerun",
        nargs="+",
        action="extend",
        default=[],
        metavar="failed|diverged|CELL",
        help="train these again: cells that failed, that diverged, or by id",
    )
    parser.add_argument(
        "--max-failures",
        type=int,
        metavar="N",
        help="stop once more than N cells failed or diverged (default: the study's; its own: a tenth, or five)",
    )
    parser.add_argument(
        "--checkpoint-seconds",
        type=float,
        metavar="S",
        default=CHECKPOINT_SECONDS,
        help="save a cell's state when S seconds have passed since the last time (default: %(default)g)",
    )
    return parser.parse_args(argv)


def _sharing(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


if __name__ == "__main__":
    cli.run(main)
