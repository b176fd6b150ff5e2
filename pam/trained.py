"""A finished cell's network, with the weights that it has learned."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from pam import checkpoints, ledger, networks
from pam.errors import ResultsError
from pam.ledger import Entry


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The network, on the CPU, and the ledger's entry of its cell."""

    network: nn.Module
    entry: Entry
    in_channels: int


def trained(cell_id: str) -> Trained:
    """Raises `ResultsError` where ledger or weights lack the cell, and where the code that was trained was edited."""
    entry = ledger.read(cell_id)
    name = entry.cell["network"]
    if networks.NETWORKS.code(name) != entry.cell.get("code", {}).get(name, ""):
        raise ResultsError(
            f"cell {cell_id}: the source of {name} was edited since it was trained; expected the code of then: "
            "restore it, or run the sweep to train the new one"
        )
    weights = checkpoints.weights(cell_id)
    if weights is None:
        path = checkpoints.weights_path(cell_id)
        raise ResultsError(f"{path}: no such file; weights go by --keep nothing or a disk budget: train the cell again")
    in_channels = len(entry.provenance["data"]["modalities"])
    network = networks.build(name, in_channels, **entry.cell["options"])
    network.load_state_dict(weights)
    return Trained(network=network, entry=entry, in_channels=in_channels)
