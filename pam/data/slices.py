"""From a checked scan to the arrays that a store keeps: cropped, normalised, in float16."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pam.data.geometry import Crop
from pam.data.scale import Scale, scale
from pam.data.scans import Scan
from pam.datasets.dataset import Dataset


@dataclass(frozen=True, kw_only=True)
class Slices:
    """Successive slices of one case."""

    images: np.ndarray  # d c h w float16
    masks: np.ndarray  # d h w uint8, 0 or 1
    brain_pixels: np.ndarray  # d, pixels in which any modality is not zero


def scales(scan: Scan, dataset: Dataset) -> tuple[Scale, ...]:
    """How each modality is normalised. Raises `DataError`, without the case's name, for one that cannot be."""
    named = zip(dataset.modalities, scan.images, strict=True)
    return tuple(scale(voxels, name, zero_outside=dataset.zero_outside) for name, voxels in named)


def cut(scan: Scan, scaled: tuple[Scale, ...], crop: Crop, rows: slice) -> Slices:
    """These slices of the case, each modality with mean 0 and deviation 1 over the whole of it, then cropped."""
    masks = crop.apply(scan.target[rows])
    images = np.empty((len(masks), len(scaled), *crop.size), np.float16)
    brain = np.zeros(masks.shape, bool)
    for channel, (how, voxels) in enumerate(zip(scaled, scan.images, strict=True)):
        cropped = crop.apply(voxels[rows])
        brain |= cropped != 0
        images[:, channel] = how.apply(cropped)
    return Slices(images=images, masks=masks.astype(np.uint8), brain_pixels=brain.sum((1, 2)))
