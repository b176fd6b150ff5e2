"""States of cells on disk, one file per cell id: what an interrupted cell goes on from, what a finished one learned."""

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


def weights_path(cell_id: str) -> Path:
    """Where a finished cell's weights are."""
    return home.checkpoints() / f"{cell_id}.weights.pt"


def save(cell_id: str, state: Mapping[str, Any]) -> None:
    """Replace the cell's newest state."""
    _write(state_path(cell_id), state)


def finish(cell_id: str, weights: Mapping[str, torch.Tensor]) -> None:
    """Keep a finished cell's weights alone."""
    _write(weights_path(cell_id), weights)
    state_path(cell_id).unlink(missing_ok=True)


def load(cell_id: str) -> dict[str, Any] | None:
    """The cell's newest state, on the CPU; None where there is none. A damaged file is reported and counts as none."""
    path = state_path(cell_id)
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        LOG.warning("%s is damaged (%s); the cell starts again", path, error)
        return None
    return state


def _write(path: Path, state: Mapping[str, Any]) -> None:
    with files.whole(path) as file:
        torch.save(dict(state), file)
