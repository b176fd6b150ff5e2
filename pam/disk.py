"""What cells take on disk: estimated before they run."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pam import home, networks
from pam.data.folds import Split
from pam.data.store import Store
from pam.data.view import packed
from pam.study import Cell

ROW_BYTES = 200  # of a slice's scores in the ledger, compressed: measured on BRATS-like phantoms, rounded up
ENTRY_BYTES = 60_000  # of an entry with no slice
STATE = 3  # a state to go on from holds the weights and AdamW's two moments
GENERATIONS = 3  # states of a cell at once: the newest, the one before and the one being written
SAMPLED = 64  # masks


@dataclass(frozen=True, kw_only=True)
class Disk:
    """What cells will take, in MiB."""

    checkpoints: float  # of the cells that run at once
    weights: float
    ledger: float
    mirror: float  # MLflow's copies of the ledger's files, where it keeps them on this disk

    @property
    def needed(self) -> float:
        return self.checkpoints + self.weights + self.ledger + self.mirror


def needed(
    planned: Sequence[tuple[Cell, Split]], store: Store, *, at_once: int, keep_weights: bool, mirrored: bool
) -> Disk:
    """What the cells will take, so many of them running at once."""
    sizes = _weights_mb([cell for cell, _ in planned], len(store.modalities))
    largest = sorted(sizes, reverse=True)[:at_once]
    ledger = ledger_mb(planned, store)
    return Disk(
        checkpoints=STATE * GENERATIONS * sum(largest),
        weights=sum(sizes) if keep_weights else 0.0,
        ledger=ledger,
        mirror=ledger if mirrored else 0.0,
    )


def ledger_mb(planned: Sequence[tuple[Cell, Split]], store: Store) -> float:
    """What the cells' entries take, if predictions compress as the data's own masks do."""
    rows = np.linspace(0, len(store.masks) - 1, min(SAMPLED, len(store.masks))).astype(int)
    bits = b"".join(packed(store.masks[row] > 0) for row in rows)
    per_slice = ROW_BYTES + len(zlib.compress(bits)) / len(rows)
    per_split: dict[str, float] = {}
    for _, split in planned:
        if split.hash not in per_split:
            slices = sum(len(store.rows(case)) for _, case in store.cases_of(split.test))
            per_split[split.hash] = ENTRY_BYTES + slices * per_slice
    return sum(per_split[split.hash] for _, split in planned) / 2**20


def free_mb() -> float:
    """Where PAM_HOME is, or will be."""
    folder = next(path for path in (home.home(), *home.home().parents) if path.exists())
    return shutil.disk_usage(folder).free / 2**20


def text(megabytes: float) -> str:
    return f"{megabytes / 1024:.1f} GiB" if megabytes >= 1024 else f"{megabytes:.0f} MiB"


def _weights_mb(cells: Sequence[Cell], in_channels: int) -> list[float]:
    """Of each cell's network; each distinct one is built once, without memory."""
    known: dict[tuple[str, str], float] = {}
    for cell in cells:
        key = (cell.network, repr(sorted(cell.options.items())))
        if key not in known:
            network = networks.sketch(cell.network, in_channels, **cell.options)
            known[key] = sum(tensor.nbytes for tensor in network.state_dict().values()) / 2**20
    return [known[cell.network, repr(sorted(cell.options.items()))] for cell in cells]
