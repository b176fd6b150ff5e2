"""`python -m pam.report [STUDY …]`: the tables and figures of what the ledger, or an MLflow server, holds."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from pam import cli
from pam.counts import counted
from pam.errors import StudyError
from pam.files import check_writable
from pam.report.publish import Report, collect, make, swept
from pam.report.verify import problems

FAILED = 1  # exit code of a check that found something


def main(argv: Sequence[str] | None = None) -> int:
    """Publish each study and print its tables, or check what was published; raises `PamError` if it has no results."""
    arguments = _parse(argv)
    if arguments.tracking_uri and not arguments.study:
        raise StudyError("--tracking-uri: name the studies to report on; an MLflow server may hold those of others")
    failed = False
    for name in arguments.study or swept():
        with _results(arguments.tracking_uri, name, arguments.dataset):
            found = collect(name, arguments.dataset)
            if not arguments.check:
                check_writable(arguments.out, otherwise="name another folder with --out")
            report = make(found)
            lines = problems(report, found, arguments.out) if arguments.check else []
        if arguments.check:
            failed |= bool(lines)
            _tell(report, lines)
        else:
            report.write(arguments.out)
            names = dict.fromkeys(file.partition("/")[0] + "/" * ("/" in file) for file in report.files)
            print(f"{report.text}\n\n{report.folder(arguments.out)}: {', '.join(names)}\n")
    return FAILED if failed else 0


def _results(uri: str | None, name: str, dataset: str | None) -> AbstractContextManager[None]:
    """Within it, the study's results are found in PAM_HOME: those of the ledger, or of the MLflow server at `uri`."""
    if not uri:
        return nullcontext()
    from pam.report.fetch import home_from  # noqa: PLC0415  # it imports mlflow, which takes seconds

    return home_from(uri, name, dataset)


def _tell(report: Report, lines: Sequence[str]) -> None:
    state = f"{counted(len(lines), 'problem')}" if lines else f"all {counted(len(report.files), 'file')} follow from it"
    print("\n".join([f"{report.study} on {report.dataset}: {state}", *(f"  {line}" for line in lines)]))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.Parser(prog="python -m pam.report", description="Make the tables and figures of studies.")
    parser.add_argument(
        "study", nargs="*", help="a study's name, or the path of its file (default: all that were swept)"
    )
    parser.add_argument("--dataset", help="the data set to report on (default: the one swept last)")
    parser.add_argument("--out", type=Path, default=Path("reports"), help="where to write (default: ./reports)")
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; exit 1 if what is in OUT does not follow from the results, or cells are missing or stale",
    )
    parser.add_argument(
        "--tracking-uri", metavar="URI", help="make it from this MLflow server's artifacts instead of the ledger"
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.run(main)
