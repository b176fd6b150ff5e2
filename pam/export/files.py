"""The folder of an export: written whole or not at all."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

from pam import ledger
from pam.ensemble import Ensemble, Member
from pam.errors import ResultsError
from pam.export import card, graph
from pam.export.card import Card

ONNX, WEIGHTS = "onnx", "weights"
KINDS = (ONNX, WEIGHTS)
GRAPH, CARD, PAGE = "ensemble.onnx", "model.json", "README.md"


def check_new(folder: Path) -> None:
    """Raise `ResultsError` if something is in the folder: two exports must not be mixed."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ResultsError(f"{folder}: exists and is not empty; expected a new folder, name another")


def write(networks: Ensemble, about: Card, folder: Path, kinds: tuple[str, ...] = KINDS) -> Card:
    """Write the networks and the card to a new folder; returns the card with what was found and written.

    Raises `ResultsError` as `check_new` and `graph.write` do.
    """
    check_new(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as beside:
        staged = Path(beside) / folder.name
        staged.mkdir()
        tolerance = None
        if ONNX in kinds:
            image = (len(about.modalities), *about.size)
            tolerance = graph.write([member.network for member in networks.members], image, staged / GRAPH)
        for member in networks.members if WEIGHTS in kinds else ():
            _write_weights(member, about, staged / f"{member.cell}.safetensors")
        names = sorted([*(path.name for path in staged.iterdir()), CARD, PAGE])
        told = replace(about, tolerance=tolerance, files=tuple(names))
        (staged / CARD).write_text(told.as_json(), encoding="utf-8")
        (staged / PAGE).write_text(card.text(told), encoding="utf-8")
        if folder.exists():
            folder.rmdir()  # empty, as was checked
        shutil.move(staged, folder)
    return told


def _write_weights(member: Member, about: Card, path: Path) -> None:
    """One network's weights, with what `pam.networks.build` needs to make it."""
    from safetensors.torch import save  # noqa: PLC0415  # a tenth of a second that other commands do not pay

    cell, provenance = ledger.read_cell(member.cell), ledger.read_provenance(member.cell)
    told = {
        "network": cell["network"],
        "options": dict(cell["options"]),
        "in_channels": len(about.modalities),
        "cell": member.cell,
        "study": about.study,
        "data_hash": about.data_hash,
        "git_commit": provenance.get("git_commit", ""),
    }
    state = {name: tensor.detach().contiguous().clone() for name, tensor in member.network.state_dict().items()}
    path.write_bytes(save(state, metadata={"format": "pt", "pam": json.dumps(told, sort_keys=True)}))
