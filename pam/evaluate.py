"""A trained network on its test cases: per-slice and per-case scores, as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from pam.metrics import DIAGONAL, DISTANCES, SURFACE_DICE, TOLERANCE, score, score_slices
from pam.train import autocast, memory_format

if TYPE_CHECKING:  # scoring needs torch, numpy and scipy only
    from pam.data.store import Store

THRESHOLD_LOGIT = 0.0  # foreground where the sigmoid exceeds one half
BATCH = 32  # slices per forward pass; no result depends on it beyond rounding


@torch.inference_mode()
def predict(network: nn.Module, images: np.ndarray, *, device: torch.device, precision: str) -> np.ndarray:
    """Foreground masks (n h w, bool) of images (n c h w)."""
    network.eval()
    masks = []
    for start in range(0, len(images), BATCH):
        batch = torch.from_numpy(images[start : start + BATCH]).to(device).float()
        with autocast(device, precision):
            logits = network(batch.contiguous(memory_format=memory_format(device)))
        masks.append((logits[:, 0] > THRESHOLD_LOGIT).cpu().numpy())
    return np.concatenate(masks)


def evaluate(
    network: nn.Module, store: Store, patients: Sequence[str], *, device: torch.device, precision: str
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    """Score every slice and every case of the patients; (per-slice rows, per-case rows).

    A slice's distances are in pixels (`hd95_px`), a case's in mm (`hd95_mm`): NaN where the source tells no spacing.
    """
    slices, cases = [], []
    index = store.index
    for (patient, case), rows in index[index.patient.isin(patients)].groupby(["patient", "case"], sort=True):
        where = rows.index.to_numpy()
        prediction = predict(network, store.images[where], device=device, precision=precision)
        target = store.masks[where] > 0
        names = {"patient": patient, "case": case}
        for number, scores in zip(rows.slice, score_slices(prediction, target), strict=True):
            slices.append({**names, "slice": number, **in_unit(scores, "px")})
        spacing = tuple(rows[["spacing_d", "spacing_h", "spacing_w"]].iloc[0])
        cases.append({**names, "slices": len(rows), **in_unit(score(prediction, target, spacing), "mm")})
    return slices, cases


def in_unit(scores: Mapping[str, object], unit: str) -> dict[str, object]:
    """The scores as the ledger's columns: distances named with their unit, surface Dice with its tolerance, too."""
    named = {name: f"{name}_{unit}" for name in (*DISTANCES, DIAGONAL)}
    named[SURFACE_DICE] = f"{SURFACE_DICE}_{TOLERANCE:g}{unit}"
    return {named.get(name, name): value for name, value in scores.items()}
