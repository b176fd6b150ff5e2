"""What all commands share: exit codes, and errors as one line."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import NoReturn

from pam.errors import PamError, PamErrors

BAD_INPUT = 2
INTERRUPTED = 130  # the shell's code for Ctrl-C


class Parser(argparse.ArgumentParser):
    """Argparse with errors in our form: one line, without the usage text before it."""

    def __init__(self, *, prog: str, description: str) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise PamError(f"{message}; see: {self.prog} --help")


def guarded(main: Callable[[Sequence[str] | None], int], argv: Sequence[str] | None = None) -> int:
    """Run a command; a user's error becomes one line on standard error and exit code 2.

    SIGTERM, by which Slurm, `ray job stop` and others end a process, is taken as Ctrl-C.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return main(argv)
    except PamError as error:
        for line in error.lines if isinstance(error, PamErrors) else [str(error)]:
            print(f"error: {' '.join(line.split())}", file=sys.stderr)
        return BAD_INPUT
    except BrokenPipeError:  # whoever reads the output has seen enough, such as head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python tells so as it ends
        return 0
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where this one stopped", file=sys.stderr)
        return INTERRUPTED


def run(main: Callable[[Sequence[str] | None], int]) -> NoReturn:
    """`guarded`, for a module's `__main__`."""
    sys.exit(guarded(main))
