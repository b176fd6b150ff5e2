"""`pam COMMAND …`: the same as `python -m pam.COMMAND …`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from pam import cli
from pam.errors import PamError

# Name: module, purpose. A module is imported only when it is run: a command pays for its own imports alone.
COMMANDS = {
    "networks": ("pam.networks.__main__", "print the network zoo"),
    "prepare": ("pam.prepare", "read a data set's scans, check them and store their slices"),
    "service": ("pam.service.__main__", "start, show or stop Ray and MLflow on this machine"),
    "status": ("pam.status", "tell what is done, what runs, what failed, and where to look"),
    "sweep": ("pam.sweep.__main__", "train what is missing of a study"),
    "search": ("pam.search", "find settings for a study's rows"),
    "train": ("pam.train.__main__", "train cells of a study in one process, without Ray"),
    "track": ("pam.track.__main__", "bring results trained elsewhere to the ledger, and the ledger's to MLflow"),
    "predict": ("pam.predict", "segment new cases with a study's trained networks"),
    "export": ("pam.export.__main__", "write a study's trained networks as ONNX and safetensors, and register them"),
    "report": ("pam.report.__main__", "make a study's tables and figures"),
    "receptive_fields": ("pam.receptive_fields", "measure how far networks' branches look"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command on the arguments that follow its name, and return its exit code."""
    if str(Path.cwd()) not in sys.path:  # where `python -m` finds a user's own modules, and Ray's workers look too
        sys.path.insert(0, str(Path.cwd()))
    return cli.guarded(_dispatch, sys.argv[1:] if argv is None else argv)


def _dispatch(argv: Sequence[str] | None) -> int:
    command, *rest = argv or ["--help"]
    if command in ("-h", "--help"):
        print("usage: pam COMMAND …    (what a command takes: pam COMMAND --help)\n")
        print("\n".join(f"  {name:<18}{purpose}" for name, (_, purpose) in COMMANDS.items()))
        return 0
    if command not in COMMANDS:
        raise PamError(f"unknown command {command!r}; there are: {', '.join(COMMANDS)}")
    module, _ = COMMANDS[command]
    code: int = importlib.import_module(module).main(rest)
    return code


if __name__ == "__main__":
    sys.exit(main())
