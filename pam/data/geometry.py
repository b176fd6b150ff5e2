"""Where a case's slices lie in their source: orientation and affine (the NIfTI header), and the crop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Crop:
    """A centre crop of a source plane; negative offsets are padding, so one pair of numbers describes both."""

    source: tuple[int, int]  # (h, w) of the source plane
    size: tuple[int, int]  # (h, w) of the crop
    top: int  # the crop's first row, in source rows
    left: int

    def apply(self, volume: np.ndarray) -> np.ndarray:
        """(… H W) → (… h w), zero where the crop reaches beyond the source."""
        cropped = np.zeros((*volume.shape[:-2], *self.size), volume.dtype)
        inside, outside = self._overlap()
        cropped[(..., *inside)] = volume[(..., *outside)]
        return cropped

    def undo(self, cropped: np.ndarray) -> np.ndarray:
        """(… h w) → (… H W), zero outside the crop."""
        volume = np.zeros((*cropped.shape[:-2], *self.source), cropped.dtype)
        inside, outside = self._overlap()
        volume[(..., *outside)] = cropped[(..., *inside)]
        return volume

    @property
    def inside(self) -> tuple[slice, slice]:
        """Rows and columns of the crop that lie in the source; the rest is padding."""
        return self._overlap()[0]

    def _overlap(self) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """The rows and columns common to crop and source: in the crop, and in the source."""
        inside, outside = [], []
        for offset, length, size in zip((self.top, self.left), self.source, self.size, strict=True):
            first, last = max(0, offset), min(length, offset + size)
            outside.append(slice(first, last))
            inside.append(slice(first - offset, last - offset))
        return (inside[0], inside[1]), (outside[0], outside[1])


def centre_crop(source: tuple[int, int], size: tuple[int, int]) -> Crop:
    """The crop of this size around the middle; of an odd remainder the larger half is cut after the crop."""
    return Crop(source=source, size=size, top=(source[0] - size[0]) // 2, left=(source[1] - size[1]) // 2)


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """What it takes to write a mask into a NIfTI source's space: its header, as stored in the file."""

    header: bytes  # 348 (NIfTI-1) or 540 (NIfTI-2)
    shape: tuple[int, int, int]  # of the source's array, in the file's axis order
