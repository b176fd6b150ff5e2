"""Errors that a user can mend. Each message is one line: where, what was found, what was expected, what to do."""

from __future__ import annotations

import errno
from collections.abc import Sequence


class PamError(ValueError):
    """Bad input or configuration; commands print it as one line and exit with 2."""


class PamErrors(PamError):
    """Several problems at once; commands print each on a line of its own."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)


class DataError(PamError):
    """A source file, a case or a prepared store is not what its data set promises."""


class StudyError(PamError):
    """A study, a variant or an override asks for something that does not exist."""


class ResultsError(PamError):
    """Results asked for are missing or damaged."""


class Unreachable(OSError, PamError):
    """The object store that is PAM_HOME does not do what was asked: as a disk that fails."""

    def __init__(self, message: str) -> None:
        super().__init__(errno.EIO, message)
        self.message = message

    def __reduce__(self) -> tuple[type[Unreachable], tuple[str]]:
        return type(self), (self.message,)

    def __str__(self) -> str:
        return self.message
