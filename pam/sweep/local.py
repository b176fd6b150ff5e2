"""Cells one after another in this process: without Ray, with the sweep's results bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from pam import carry, cells, entries, leases
from pam.data.folds import Split
from pam.data.store import Store
from pam.result import Record, Result
from pam.study import Cell
from pam.train import Diverged, Epoch

Tell = Callable[[Cell, Epoch], None]


def done(cell_id: str, carried: Path) -> bool:
    """Whether the cell's result is in the ledger or waits among the carried files."""
    return entries.has(cell_id) or carry.path_in(carried, cell_id).exists()


def recorder(carry_to: Path | None, fallback: Path) -> tuple[Record, Path | None]:
    """What keeps results, and the folder of its carried files; None where it is the ledger.

    Without `carry_to` it is the ledger if that can be written here, which takes pandas and pyarrow, else `fallback`.
    """
    if carry_to is None:
        try:
            from pam import ledger  # noqa: PLC0415
        except ImportError:
            carry_to = fallback
        else:
            return ledger.add, None
    return partial(_carry, carry_to), carry_to


def train(
    planned: Sequence[tuple[Cell, Split]],
    store: Store,
    *,
    cpus: int,
    provenance: Mapping[str, Any],
    record: Record,
    on_epoch: Tell,
) -> dict[str, str]:
    """Train the cells in their order; cell id → why, of those that diverged or that another process is training."""
    torch.set_num_threads(cpus)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    without_result = {}
    for cell, split in planned:
        try:
            for epoch in cells.run(cell, store, split, device=device, provenance=provenance, record=record):
                on_epoch(cell, epoch)
        except (Diverged, leases.Busy) as error:
            without_result[cell.id] = f"{type(error).__name__}: {error}"
    return without_result


def _carry(folder: Path, result: Result) -> None:
    carry.write(result, folder)
