"""Errors that a user can mend. Each message is one line: where, what was found, what was expected, what to do."""


class PamError(ValueError):
    """Bad input or configuration; commands print it as one line and exit with 2."""


class DataError(PamError):
    """A source file, a case or a prepared store is not what its data set promises."""


class StudyError(PamError):
    """A study, a variant or an override asks for something that does not exist."""


class ResultsError(PamError):
    """Results asked for are missing or damaged."""
