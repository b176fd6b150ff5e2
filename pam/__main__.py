"""`pam COMMAND …`: the same as `python -m pam.COMMAND …`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from pam import cli
from pam.errors import PamError

COMMANDS = {
    "prepare": "read a data set's scans, check them and store their slices",
    "sweep": "train what is missing of a study",
    "report": "make a study's tables and figures",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command on the arguments that follow its name, and return its exit code."""
    return cli.guarded(_dispatch, sys.argv[1:] if argv is None else argv)


def _dispatch(argv: Sequence[str] | None) -> int:
    command, *rest = argv or ["--help"]
    if command in ("-h", "--help"):
        print("usage: pam COMMAND …    (what a command takes: pam COMMAND --help)\n")
        print("\n".join(f"  {name:<9}{purpose}" for name, purpose in COMMANDS.items()))
        return 0
    if command not in COMMANDS:
        raise PamError(f"unknown command {command!r}; there are: {', '.join(COMMANDS)}")
    # Imported only now: a command pays for its own imports, not for the others'.
    code: int = importlib.import_module(f"pam.{command}").main(rest)
    return code


if __name__ == "__main__":
    sys.exit(main())
