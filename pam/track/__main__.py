"""`python -m pam.track`: results trained elsewhere into the ledger, and the ledger's into MLflow."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from pam import cli, home, intake
from pam.counts import counted
from pam.redact import redact
from pam.track.sync import sync
from pam.track.where import tracking_uri


def main(argv: Sequence[str] | None = None) -> int:
    """0 if all is where it should be, 1 if MLflow lacks something."""
    arguments = _parse(argv)
    if arguments.command == "import":
        taken = intake.take(arguments.paths)
        print(f"{counted(len(taken.added), 'cell')} taken into {home.ledger()}, {len(taken.there)} there already")
        print("the study's next sweep brings them to MLflow and to its reports; so does python -m pam.track sync")
        return 0
    told = sync(arguments.study, arguments.dataset)
    for experiment in told:
        state = f"behind ({experiment.behind})" if experiment.behind else "up to date"
        finished = f"{experiment.finished} of {counted(experiment.cells, 'cell')} finished"
        print(f"{experiment.name}: {finished}; MLflow is {state}")
    print(f"MLflow: {redact(tracking_uri())}")
    return 1 if any(experiment.behind for experiment in told) else 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.Parser(prog="python -m pam.track", description="Bring results to the ledger and to MLflow.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    take = commands.add_parser("import", description="Take results trained elsewhere into the ledger, checked by hash.")
    take.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="carried files or folders of them")
    fill = commands.add_parser(
        "sync", description="Tell MLflow what the ledger holds and it lacks; an empty server is filled anew."
    )
    fill.add_argument("study", nargs="*", metavar="STUDY", help="studies' names (default: all that were swept)")
    fill.add_argument("--dataset", help="only this data set")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.run(main)
