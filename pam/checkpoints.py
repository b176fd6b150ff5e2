"""States of cells on disk: what an interrupted cell goes on from, what a finished one learned.

Two generations of an unfinished cell's state are kept: a damaged one costs one interval between saves, not the cell.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pam import files, home

LOG = logging.getLogger(__name__)


def state_path(cell_id: str) -> Path:
    """Where an unfinished cell's newest state is."""
    return home.checkpoints() / f"{cell_id}.pt"


def previous_path(cell_id: str) -> Path:
    """Where the state before the newest is."""
    return home.checkpoints() / f"{cell_id}.previous.pt"


def weights_path(cell_id: str) -> Path:
    """Where a finished cell's weights are."""
    return home.checkpoints() / f"{cell_id}.weights.pt"


def save(cell_id: str, state: Mapping[str, Any]) -> None:
    """Make this the cell's newest state and keep the one before it."""
    newest = state_path(cell_id)
    written = _next_path(cell_id)
    _write(written, state)
    if newest.exists():
        newest.replace(previous_path(cell_id))
    written.replace(newest)


def finish(cell_id: str, weights: Mapping[str, torch.Tensor]) -> None:
    """Keep a finished cell's weights alone."""
    _write(weights_path(cell_id), weights)
    forget(cell_id)


def forget(cell_id: str) -> None:
    """Remove the cell's states, so that it starts anew."""
    for path in (state_path(cell_id), previous_path(cell_id), _next_path(cell_id)):
        path.unlink(missing_ok=True)


def load(cell_id: str) -> dict[str, Any] | None:
    """The cell's newest whole state, on the CPU; None where there is none. A damaged file is passed over, loudly."""
    for path in (state_path(cell_id), previous_path(cell_id)):
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            continue
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            reason = str(error).partition("\n")[0]
            LOG.warning("%s is damaged (%s); the cell goes on from an earlier state, if there is one", path, reason)
            continue
        return state
    return None


def _next_path(cell_id: str) -> Path:
    """Where a state waits to become the newest."""
    return home.checkpoints() / f"{cell_id}.next.pt"


def _write(path: Path, state: Mapping[str, Any]) -> None:
    with files.whole(path) as file:
        torch.save(dict(state), file)
