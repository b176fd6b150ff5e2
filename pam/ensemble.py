"""New cases segmented by all trained networks of one variant: the mean of their probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from pam.data.new_case import NewCase
from pam.errors import ResultsError
from pam.evaluate import foreground_logits
from pam.report import paired, tables
from pam.study import Recipe
from pam.trained import trained

BEST = "best"
THRESHOLD = 0.5  # of the mean probability


@dataclass(frozen=True, kw_only=True)
class Member:
    """One cell's network. tested: the patients that it never trained on, because it was tested on them."""

    cell: str
    network: nn.Module
    precision: str
    tested: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """The networks of one variant, over folds and seeds; `data` is what their entries say of their data."""

    variant: str
    members: tuple[Member, ...]
    data: Mapping[str, Any]

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of the slices that the networks were trained on."""
        height, width = self.data["size"]
        return height, width

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.data["modalities"])

    def fit_for(self, patient: str) -> tuple[Member, ...]:
        """Those that have not trained on the patient: of one of the study's own, the members that tested it."""
        tested = tuple(member for member in self.members if patient in member.tested)
        return tested or self.members


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """Of one case, in the crop: probability and disagreement (SD over the members), both d h w float32 in 0 … 1."""

    probability: np.ndarray
    disagreement: np.ndarray
    members: tuple[Member, ...]

    @property
    def mask(self) -> np.ndarray:
        return np.asarray(self.probability > THRESHOLD)


def load(manifest: Mapping[str, Any], variant: str) -> Ensemble:
    """The networks of the row that `variant` names: its name, words of it, or "best", the highest Dice per patient.

    Raises `ResultsError` if there is no such row, several, or a network's weights are gone.
    """
    cells = tables.collect(manifest)
    finished = cells[cells.finished]
    scores = paired.read(cells)[0]["patient"]
    dice = {label: float(np.mean(scores.contrast({label: 1.0}, "dice").per_patient)) for label in set(finished.label)}
    label = _chosen(variant, dice)
    found = [trained(cell_id) for cell_id in finished.id[finished.label == label]]
    members = tuple(
        Member(
            cell=one.entry.cell["id"],
            network=one.network,
            precision=Recipe(**one.entry.cell["recipe"]).precision,
            tested=frozenset(one.entry.cases.patient.astype(str)),
        )
        for one in found
    )
    return Ensemble(variant=label, members=members, data=found[0].entry.provenance["data"])


def segment(ensemble: Ensemble, new: NewCase, device: torch.device) -> Segmentation:
    """The case's segmentation by the members that are fit for its patient."""
    members = ensemble.fit_for(new.case.patient)
    probabilities = np.stack([_probability(member, new.images, device) for member in members])
    return Segmentation(probability=probabilities.mean(axis=0), disagreement=probabilities.std(axis=0), members=members)


def _probability(member: Member, images: np.ndarray, device: torch.device) -> np.ndarray:
    network = member.network.to(device)
    logits = foreground_logits(network, images, device=device, precision=member.precision)
    return np.asarray(torch.from_numpy(logits).sigmoid())


def _chosen(variant: str, dice: Mapping[str, float]) -> str:
    """The name of a row among those with results."""
    if variant == BEST:
        return max(dice, key=lambda label: dice[label])
    if variant in dice:
        return variant
    words = set(variant.split())
    fitting = [label for label in dice if words <= set(label.split())]
    if len(fitting) != 1:
        raise ResultsError(_not_one(variant, fitting, list(dice)))
    return fitting[0]


def _not_one(variant: str, fitting: Sequence[str], known: Sequence[str]) -> str:
    found = f"fits {len(fitting)} rows with results ({'; '.join(fitting)})" if fitting else "fits no row with results"
    return f"--variant {variant!r} {found}; expected {BEST} or one of: {'; '.join(known)}"
