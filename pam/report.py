"""`python -m pam.report [STUDY …]`: the tables and figures of what the ledger holds."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from pam import cli
from pam.publish import make, swept


def main(argv: Sequence[str] | None = None) -> int:
    """Publish each study and print its table; raises `PamError` for one that has no results."""
    arguments = _parse(argv)
    for name in arguments.study or swept():
        report = make(name, arguments.dataset)
        report.write(arguments.out)
        names = dict.fromkeys(name.partition("/")[0] + "/" * ("/" in name) for name in report.files)
        print(f"{report.text}\n\n{report.folder(arguments.out)}: {', '.join(names)}\n")
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.Parser(prog="python -m pam.report", description="Make the tables and figures of studies.")
    parser.add_argument(
        "study", nargs="*", help="a study's name, or the path of its file (default: all that were swept)"
    )
    parser.add_argument("--dataset", help="the data set to report on (default: the one swept last)")
    parser.add_argument("--out", type=Path, default=Path("reports"), help="where to write (default: ./reports)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.run(main)
