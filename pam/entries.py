"""Where the ledger keeps its entries and which cells have one; reading them takes `pam.ledger`."""

from __future__ import annotations

from pathlib import Path

from pam import home

CELL = "cell.json"  # an entry's last file: it exists exactly while this one does


def folder(cell_id: str) -> Path:
    """Where the cell's entry lies, or would lie."""
    assert cell_id and "/" not in cell_id, f"{cell_id!r} is no cell id"
    return home.ledger() / cell_id


def has(cell_id: str) -> bool:
    """Whether the cell has finished."""
    return (folder(cell_id) / CELL).is_file()
