"""Which of the cells asked for are to be trained: those without a result, and those that are wanted again."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from pam import entries, failures
from pam.data.folds import Split
from pam.errors import StudyError
from pam.study import Cell


def wanted_again(words: Iterable[str], asked: Iterable[Cell]) -> list[Cell]:
    """The cells that `--rerun` names: "failed", "diverged", or ids. Raises `StudyError` for a word that names none."""
    without = failures.known()
    known = [(cell.id, failures.read(cell.id)) for cell in asked if cell.id in without]
    kinds = {cell_id: failure.kind for cell_id, failure in known if failure is not None}
    chosen: dict[str, Cell] = {}
    for word in words:
        found = {cell.id: cell for cell in asked if word in (cell.id, kinds.get(cell.id))}
        if not found and word not in failures.KINDS:
            raise StudyError(
                f"--rerun {word}: not a cell of this sweep; expected {' or '.join(failures.KINDS)}, "
                "or cells' ids as in the study's table.csv"
            )
        chosen |= found
    return list(chosen.values())


def to_train(planned: Sequence[tuple[Cell, Split]], again: Collection[Cell]) -> list[tuple[Cell, Split]]:
    """Those that neither finished nor failed, and those that are wanted again."""
    over, anew = entries.finished() | failures.known(), {cell.id for cell in again}
    return [(cell, split) for cell, split in planned if cell.id in anew or cell.id not in over]
