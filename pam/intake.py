"""Results trained elsewhere, taken into the ledger: carried files, or entries of another ledger."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pam import carry, ledger
from pam.entries import CELL
from pam.errors import ResultsError


@dataclass(frozen=True, kw_only=True)
class Taken:
    """Cell ids."""

    added: tuple[str, ...]
    there: tuple[str, ...]  # in the ledger before


def take(paths: Iterable[Path]) -> Taken:
    """Take files, entries' folders, and folders of either into the ledger.

    All are checked before the first is written: hashes, and the cell's id against its description. Raises
    `ResultsError` for a path that holds no result, and for a result that is damaged, changed or of another version.
    """
    sources = [source for path in paths for source in _sources(path)]
    checked = dict(map(_checked, sources))
    there = tuple(cell_id for cell_id in checked if ledger.has(cell_id))
    added = tuple(cell_id for cell_id in checked if cell_id not in there)
    for cell_id in added:
        checked[cell_id]()
    return Taken(added=added, there=there)


def _sources(path: Path) -> list[Path]:
    """Carried files and entries' folders at a path or below it."""
    if path.is_file() or (path / CELL).is_file():
        return [path]
    files = sorted(path.rglob(f"*{carry.SUFFIX}"))
    folders = sorted(entry.parent for entry in path.rglob(CELL) if not entry.parent.name.startswith("."))
    if not files and not folders:
        found = "no carried cell and no ledger entry in it" if path.is_dir() else "no such file or folder"
        raise ResultsError(f"{path}: {found}; expected what python -m pam.train has written, ID{carry.SUFFIX}")
    return [*files, *folders]


def _checked(source: Path) -> tuple[str, partial[None]]:
    """The cell's id, and what takes its result into the ledger."""
    if source.is_dir():
        carry.check(source, ledger.read_folder(source).cell)
        return source.name, partial(ledger.copy, source)
    result = carry.read(source)
    return result.cell["id"], partial(ledger.add, result)
