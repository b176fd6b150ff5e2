"""A trained network on its test cases: scores per slice and per case, and the evidence behind them, as columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from pam.data.pages import release
from pam.data.view import packed, view_slice
from pam.metrics import DIAGONAL, DISTANCES, SURFACE_DICE, TOLERANCE, score, score_slices
from pam.networks.inside import attention_maps, deepest
from pam.result import Rows
from pam.train import autocast, memory_format

if TYPE_CHECKING:  # scoring needs torch, numpy and scipy only
    from pam.data.store import Store

THRESHOLD_LOGIT = 0.0  # foreground where the sigmoid exceeds one half
BATCH = 32  # slices per forward pass; no result depends on it beyond rounding


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Rows of the ledger's tables of the same names."""

    slices: Rows = field(default_factory=list)
    cases: Rows = field(default_factory=list)
    predictions: Rows = field(default_factory=list)
    attention: Rows = field(default_factory=list)


def predict(network: nn.Module, images: np.ndarray, *, device: torch.device, precision: str) -> np.ndarray:
    """Foreground masks (n h w, bool) of images (n c h w)."""
    return np.asarray(foreground_logits(network, images, device=device, precision=precision) > THRESHOLD_LOGIT)


@torch.inference_mode()
def foreground_logits(network: nn.Module, images: np.ndarray, *, device: torch.device, precision: str) -> np.ndarray:
    """Logits of the foreground (n h w, float32) of images (n c h w)."""
    network.eval()
    found = []
    for start in range(0, len(images), BATCH):
        batch = torch.from_numpy(images[start : start + BATCH]).to(device).float()
        with autocast(device, precision):
            logits = network(batch.contiguous(memory_format=memory_format(device)))
        found.append(logits[:, 0].float().cpu().numpy())
    return np.concatenate(found)


def predict_case(network: nn.Module, store: Store, case: str, *, device: torch.device, precision: str) -> np.ndarray:
    """Foreground of a case (d h w, bool); none in the padding, which is no part of the scan."""
    prediction = predict(network, store.images[store.rows(case)], device=device, precision=precision)
    release(store.images)
    rows, columns = store.inside(case)
    scanned = np.zeros_like(prediction)
    scanned[:, rows, columns] = prediction[:, rows, columns]
    return scanned


@torch.inference_mode()
def attend(network: nn.Module, image: np.ndarray, *, device: torch.device, precision: str) -> dict[str, object] | None:
    """The deepest encoder's attention to an image (c h w), the mean over its channels: module, height, width, values.

    values: float16, row by row. None for a network without attention to positions.
    """
    network.eval()
    batch = torch.tensor(np.asarray(image[None], np.float32), device=device)
    with autocast(device, precision):
        maps = attention_maps(network, batch.contiguous(memory_format=memory_format(device)))
    module = deepest(maps)
    if module is None:
        return None
    values = maps[module][0].float().mean(0).half().cpu().numpy()
    return {"module": module, "height": values.shape[0], "width": values.shape[1], "values": values.tobytes()}


def evaluate(
    network: nn.Module,
    store: Store,
    patients: Sequence[str],
    *,
    device: torch.device,
    precision: str,
    chosen: np.ndarray,
) -> Evaluation:
    """Score slices and every case of the patients.

    `chosen` are the rows of the store whose slices are scored one by one; a case's scores are of its whole volume,
    since one with gaps has no distances, and all predictions are kept. A slice's distances are in pixels (`hd95_px`),
    a case's in mm (`hd95_mm`): NaN where the source tells no spacing. No score knows of padding.
    """
    found = Evaluation()
    columns = store.columns
    for patient, case in store.cases_of(patients):
        where = store.rows(case)
        target = store.masks[where] > 0
        prediction = predict_case(network, store, case, device=device, precision=precision)
        names = {"patient": patient, "case": case}
        size = {"height": target.shape[1], "width": target.shape[2]}
        numbers = columns["slice"][where].tolist()
        for number, mask in zip(numbers, prediction, strict=True):
            found.predictions.append({**names, "slice": number, **size, "mask": packed(mask)})
        rows, columns_inside = store.inside(case)
        found_there, target_there = prediction[:, rows, columns_inside], target[:, rows, columns_inside]
        kept = np.flatnonzero(np.isin(where, chosen))
        for place, scores in zip(kept.tolist(), score_slices(found_there[kept], target_there[kept]), strict=True):
            found.slices.append({**names, "slice": numbers[place], **in_unit(scores, "px")})
        spacing = tuple(float(columns[f"spacing_{axis}"][where[0]]) for axis in "dhw")
        found.cases.append({**names, "slices": len(where), **in_unit(score(found_there, target_there, spacing), "mm")})
        view = view_slice(columns["target_pixels"][where], columns["brain_pixels"][where])
        attention = attend(network, store.images[where[view]], device=device, precision=precision)
        if attention is not None:
            found.attention.append({**names, "slice": numbers[view], **attention})
    return found


def dice_per_patient(
    network: nn.Module, store: Store, patients: Sequence[str], *, device: torch.device, precision: str
) -> float:
    """Mean over the patients of the Dice of all their slices pooled; NaN if no patient has a pixel in either mask.

    A patient without a pixel in either mask is left out, one with a miss or a false alarm alone has 0: Dice as in the
    protocol `patient`, without the cost of distances.
    """
    dice = []
    for patient in sorted(patients):
        pixels = common = 0
        for _, case in store.cases_of([patient]):
            prediction = predict_case(network, store, case, device=device, precision=precision)
            target = store.masks[store.rows(case)] > 0
            pixels += int(prediction.sum()) + int(target.sum())
            common += int((prediction & target).sum())
        if pixels:
            dice.append(2 * common / pixels)
    return math.fsum(dice) / len(dice) if dice else math.nan


def in_unit(scores: Mapping[str, object], unit: str) -> dict[str, object]:
    """The scores as the ledger's columns: distances named with their unit, surface Dice with its tolerance, too."""
    named = {name: f"{name}_{unit}" for name in (*DISTANCES, DIAGONAL)}
    named[SURFACE_DICE] = f"{SURFACE_DICE}_{TOLERANCE:g}{unit}"
    return {named.get(name, name): value for name, value in scores.items()}
