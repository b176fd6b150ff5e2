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
from pam.errors import ResultsError

LOG = logging.getLogger(__name__)


def state_path(cell_id: str) -> Path:
    """Where an unfinished cell's newest state is."""
    return home.checkpoints() / f"{cell_id}.pt"


def previous_path(cell_id: str) -> Path:
    """Where the state before the newest is."""
    return home.checkpoints() / f"{cell_id}.previous.pt"


def weights_path(cell_id: str) -> Path:
    """Where a finished cell's weights are: torch's own format, if an earlier version or a bare machine wrote them."""
    own = home.checkpoints() / f"{cell_id}.weights.pt"
    return own if files.exists(own) else home.checkpoints() / f"{cell_id}.safetensors"


def save(cell_id: str, state: Mapping[str, Any]) -> None:
    """Make this the cell's newest state and keep the one before it."""
    newest = state_path(cell_id)
    if home.is_remote():  # a store takes an object whole, and checks it
        _write(newest, state)
        return
    written = _next_path(cell_id)
    _write(written, state)
    if newest.exists():
        newest.replace(previous_path(cell_id))
    written.replace(newest)


def finish(cell_id: str, weights: Mapping[str, torch.Tensor], *, keep: bool = True) -> None:
    """Keep a finished cell's weights alone, or nothing."""
    if keep:
        _write_weights(cell_id, weights)
    forget(cell_id)


def weights(cell_id: str) -> dict[str, torch.Tensor] | None:
    """A finished cell's weights, on the CPU; None where they were not kept. `ResultsError` for a damaged file."""
    path = weights_path(cell_id)
    if not files.exists(path):
        return None
    path = files.here(path)
    try:
        if path.suffix == ".pt":
            found: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
            return found
        from safetensors import SafetensorError  # noqa: PLC0415  # absent on a bare machine, which writes torch's
        from safetensors.torch import load as read  # noqa: PLC0415

        try:
            return read(path.read_bytes())
        except SafetensorError as error:
            raise ValueError(error) from error
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise ResultsError(
            f"{path}: damaged ({error}); delete it and train the cell again with --rerun {cell_id}"
        ) from error


def drop_weights(cell_id: str) -> None:
    files.remove(weights_path(cell_id))


def forget(cell_id: str) -> None:
    """Remove the cell's states, so that it starts anew."""
    for path in (state_path(cell_id), previous_path(cell_id), _next_path(cell_id)):
        files.remove(path)


def load(cell_id: str) -> dict[str, Any] | None:
    """The cell's newest whole state, on the CPU; None where there is none. A damaged file is passed over, loudly."""
    for path in (state_path(cell_id), previous_path(cell_id)):
        try:
            state: dict[str, Any] = torch.load(files.here(path), map_location="cpu", weights_only=True)
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


def _write_weights(cell_id: str, weights: Mapping[str, torch.Tensor]) -> None:
    try:
        from safetensors.torch import save  # noqa: PLC0415
    except ImportError:  # torch, numpy and scipy alone
        _write(home.checkpoints() / f"{cell_id}.weights.pt", weights)
        return
    with files.whole(home.checkpoints() / f"{cell_id}.safetensors") as file:
        # A copy in plain layout: on a GPU weights lie channels last, and tied ones share memory.
        file.write(save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}))


def _write(path: Path, state: Mapping[str, Any]) -> None:
    with files.whole(path) as file:
        try:
            torch.save(dict(state), file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # torch hides a full disk behind its own complaint
                raise error.__context__ from error
            raise
