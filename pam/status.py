"""`python -m pam.status [STUDY|CELL]`: what is done, what runs, what failed, and where to look."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pam import cli, overview, standing
from pam.errors import PamError
from pam.service import cluster

CLEAR = "\033[H\033[2J\033[3J"


def main(argv: Sequence[str] | None = None) -> int:
    """Print it once, or again and again until it is interrupted."""
    arguments = _parse(argv)
    if arguments.every <= 0:
        raise PamError(f"--every is {arguments.every:g}; expected seconds above 0")
    while True:
        told = _told(arguments.what)
        text = json.dumps(told, indent=None if arguments.watch else 1) if arguments.json else standing.text(told)
        if not arguments.watch:
            print(text)
            return 0
        print(f"{CLEAR}{text}" if sys.stdout.isatty() else text, flush=True)
        time.sleep(arguments.every)


def _told(what: str | None) -> dict[str, Any]:
    """Of a cell: all that is known. Of a study: its cells. Else: every study in a line."""
    cell = overview.cell(what) if what else None
    if cell is not None:
        return {"cell": standing.of_cell(cell)}
    name = Path(what).stem if what and what.endswith(".py") else what
    studies = overview.studies(name)
    found: Mapping[str, Any] = asdict(cluster.look())
    return {
        "studies": [standing.of_study(study, cells=name is not None) for study in studies],
        "cluster": found,
        "reports": sorted(str(path.parent) for path in Path("reports").absolute().glob("*/*/README.md")),
    }


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.Parser(prog="python -m pam.status", description="What is done, what runs, what failed.")
    parser.add_argument("what", nargs="?", metavar="STUDY|CELL", help="a study's name, or a cell's id or its beginning")
    parser.add_argument("--watch", action="store_true", help="go on until interrupted")
    parser.add_argument(
        "--every", type=float, default=2.0, metavar="SECONDS", help="how often, with --watch (default: 2)"
    )
    parser.add_argument("--json", action="store_true", help="as JSON; with --watch, a line each time")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.run(main)
