"""From a checked scan to the arrays that a store keeps: normalised, cropped, in float16."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pam.data.geometry import Crop, centre_crop
from pam.data.scans import Scan
from pam.datasets.dataset import Dataset
from pam.errors import DataError

FLOAT16_MAX = float(np.finfo(np.float16).max)


@dataclass(frozen=True, kw_only=True)
class Slices:
    """All slices of one case."""

    images: np.ndarray  # d c h w float16
    masks: np.ndarray  # d h w uint8, 0 or 1
    brain_pixels: np.ndarray  # d, pixels in which any modality is not zero
    crop: Crop


def cut(scan: Scan, dataset: Dataset, size: tuple[int, int]) -> Slices:
    """Normalise each modality to mean 0 and deviation 1 over the case, then crop.

    Raises `DataError`, without the case's name, for a modality that cannot be normalised.
    """
    depth, *plane = scan.target.shape
    crop = centre_crop((plane[0], plane[1]), size)
    images = np.empty((depth, len(dataset.modalities), *size), np.float16)
    brain = np.zeros((depth, *size), bool)
    for channel, (name, voxels) in enumerate(zip(dataset.modalities, scan.images, strict=True)):
        counted = voxels[voxels != 0] if dataset.zero_outside else voxels
        mean, deviation = _moments(counted, name)
        cropped = crop.apply(voxels)
        brain |= cropped != 0
        normal = (cropped.astype(np.float32) - np.float32(mean)) / np.float32(deviation)
        if dataset.zero_outside:
            normal[cropped == 0] = 0
        images[:, channel] = _to_float16(normal, name)
    return Slices(
        images=images,
        masks=crop.apply(scan.target).astype(np.uint8),
        brain_pixels=brain.sum((1, 2)),
        crop=crop,
    )


def check_modality(voxels: np.ndarray, name: str, *, zero_outside: bool) -> None:
    """Raise `DataError`, without the case's name, for a modality (d h w) that `cut` would refuse."""
    mean, deviation = _moments(voxels[voxels != 0] if zero_outside else voxels, name)
    farthest = max(float(voxels.max()) - mean, mean - float(voxels.min())) / deviation
    _check_range(farthest, name)


def _moments(voxels: np.ndarray, name: str) -> tuple[float, float]:
    """Mean and standard deviation."""
    if voxels.size == 0:
        raise DataError(f"modality {name} is zero everywhere; expected a scan, restore the file or remove the case")
    deviation = float(voxels.std(dtype=np.float64))
    if deviation == 0:
        value = voxels.flat[0]
        raise DataError(f"modality {name} is {value} everywhere; expected a scan, restore the file or remove the case")
    return float(voxels.mean(dtype=np.float64)), deviation


def _to_float16(values: np.ndarray, name: str) -> np.ndarray:
    _check_range(float(np.abs(values).max(initial=0)), name)
    return values.astype(np.float16)


def _check_range(farthest: float, name: str) -> None:
    if not farthest <= FLOAT16_MAX:
        raise DataError(
            f"modality {name} has a voxel {farthest:.3g} standard deviations from its mean, more than float16 holds "
            f"({FLOAT16_MAX:.0f}); is the file damaged?"
        )
