"""What cells take on disk: estimated before they run, and held within a study's budget while they do."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pam import checkpoints, home, ledger, networks
from pam.data.folds import Split
from pam.data.store import Store
from pam.data.view import packed
from pam.errors import PamError
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
    mirror: float  # MLflow's copies of entries and weights, where it keeps them on this disk

    largest: float  # weights and entry of a cell, at most
    at_once: int  # cells

    @property
    def running(self) -> float:
        """Of the cells that run at once, with what each leaves when it ends."""
        return self.checkpoints + self.at_once * self.largest

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
    weights = sum(sizes) if keep_weights else 0.0
    return Disk(
        checkpoints=STATE * GENERATIONS * sum(largest),
        weights=weights,
        ledger=ledger,
        mirror=ledger + weights if mirrored else 0.0,
        largest=max(sizes) * keep_weights + ledger / len(planned),
        at_once=min(at_once, len(planned)),
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


class Budget:
    """A limit on what a study's cells have under PAM_HOME: states, weights and ledger entries, not MLflow's copies.

    At the limit the weights of finished cells go, the oldest first; entries never do. Where that is not enough for the
    cells that run, which `running_mb` is set aside for, the sweep stops.
    """

    def __init__(self, limit_gb: float | None, study: Iterable[str], *, running_mb: float) -> None:
        """`study`: ids of all its cells. Raises `PamError` unless it leaves room for the cells that are to run."""
        self._limit_gb = limit_gb
        self._running_mb = running_mb
        if limit_gb is None:
            return
        if home.is_remote():
            raise PamError(f"a disk budget needs PAM_HOME on a file system, and it is {home.address()}; leave it out")
        finished = [cell_id for cell_id in study if ledger.has(cell_id)]
        kept = [cell_id for cell_id in finished if checkpoints.weights_path(cell_id).exists()]
        kept.sort(key=lambda cell_id: checkpoints.weights_path(cell_id).stat().st_mtime)
        self._weights = {cell_id: _file_mb(checkpoints.weights_path(cell_id)) for cell_id in kept}
        self._entries_mb = sum(map(_entry_mb, finished))
        if trouble := self._trim():
            raise PamError(trouble)

    def hold(self, cell_id: str) -> str:
        """A cell has finished: keep to the limit. Why the sweep must stop, or ""."""
        if self._limit_gb is None:
            return ""
        self._entries_mb += _entry_mb(cell_id)
        path = checkpoints.weights_path(cell_id)
        if path.exists():
            self._weights[cell_id] = _file_mb(path)
        return self._trim()

    def _trim(self) -> str:
        assert self._limit_gb is not None
        limit = self._limit_gb * 1e9 / 2**20
        while self._weights and self._entries_mb + sum(self._weights.values()) + self._running_mb > limit:
            oldest = next(iter(self._weights))
            checkpoints.drop_weights(oldest)
            del self._weights[oldest]
        if self._entries_mb + self._running_mb <= limit:
            return ""
        return (
            f"disk budget of {self._limit_gb:g} GB: finished cells' results take {text(self._entries_mb)}, cells that "
            f"run at once up to {text(self._running_mb)}, and no weights are left to remove; raise --disk-budget"
        )


def _file_mb(path: Path) -> float:
    return path.stat().st_size / 2**20


def _entry_mb(cell_id: str) -> float:
    return sum(map(_file_mb, ledger.folder(cell_id).iterdir()))


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
