"""Checked volumes: all files of a case, read and compared with each other and with what the data set promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pam.data import nifti, tiff
from pam.data.geometry import Geometry
from pam.datasets.dataset import Case, Dataset
from pam.errors import DataError

AFFINE_TOLERANCE_MM = 0.01  # files of one case are resampled to one grid; headers differ by rounding alone


@dataclass(frozen=True, kw_only=True)
class Scan:
    """A case, checked: its modalities and its target on one grid."""

    images: tuple[np.ndarray, ...]  # one d h w per modality, of the files' own types
    target: np.ndarray  # d h w, bool; may be empty
    numbers: tuple[int, ...]  # d, the slices' numbers in the source
    spacing_mm: tuple[float, float, float] | None  # d h w; None: the source does not tell
    geometry: Geometry | None  # None: the source has none


def read(dataset: Dataset, case: Case) -> Scan:
    """Read a case whole. Raises `DataError` for a file or a mismatch that breaks the data set's promise."""
    return READERS[dataset.reader][0](dataset, case)


def read_shape(dataset: Dataset, case: Case) -> tuple[int, int, int]:
    """A case's shape (d h w), from the headers alone."""
    return READERS[dataset.reader][1](dataset, case)


def _read_nifti(dataset: Dataset, case: Case) -> Scan:
    target = nifti.read(case.target[0])
    volumes = [nifti.read(path) for path in case.images]
    for path, volume in zip(case.images, volumes, strict=True):
        if volume.voxels.shape != target.voxels.shape:
            raise DataError(
                f"{path}: shape {_xyz(volume)} differs from that of {case.target[0].name}, {_xyz(target)} "
                "(x y z, RAS); expected one grid per case"
            )
        if not np.allclose(volume.affine, target.affine, rtol=0, atol=AFFINE_TOLERANCE_MM):
            raise DataError(
                f"{path}: spacing, axes or origin differ from those of {case.target[0].name}; "
                "expected one grid per case"
            )
    return Scan(
        images=tuple(volume.voxels for volume in volumes),
        target=_target(dataset, case.target[0], target.voxels),
        numbers=tuple(range(len(target.voxels))),
        spacing_mm=target.spacing_mm,
        geometry=volumes[0].geometry,
    )


def _read_nifti_shape(_: Dataset, case: Case) -> tuple[int, int, int]:
    return nifti.read_shape(case.target[0])


def _read_tiff_slices(dataset: Dataset, case: Case) -> Scan:
    images = _stack(case.images, len(dataset.modalities))
    masks = _stack(case.target, 1)
    if masks.shape != images.shape[:3]:
        raise DataError(
            f"{case.target[0]}: mask of {masks.shape[1:]} pixels, slice of {images.shape[1:3]}; expected the same"
        )
    for path, mask in zip(case.target, masks, strict=True):
        _target(dataset, path, mask)
    return Scan(
        images=tuple(np.moveaxis(images, -1, 0)),
        target=np.isin(masks, dataset.target_labels),
        numbers=case.numbers,
        spacing_mm=None,
        geometry=None,
    )


def _read_tiff_shape(dataset: Dataset, case: Case) -> tuple[int, int, int]:
    return len(case.images), *tiff.read_shape(case.images[0], len(dataset.modalities))


def _stack(paths: tuple[Path, ...], channels: int) -> np.ndarray:
    slices = [tiff.read(path, channels) for path in paths]
    for path, pixels in zip(paths, slices, strict=True):
        if pixels.shape != slices[0].shape:
            raise DataError(
                f"{path}: {pixels.shape[:2]} pixels, {paths[0].name} has {slices[0].shape[:2]}; "
                "expected one size per case"
            )
    return np.stack(slices)


def _target(dataset: Dataset, path: Path, labels: np.ndarray) -> np.ndarray:
    """Which voxels are the target. Raises `DataError` for labels outside the data set's."""
    found = {0} | {value.item() for value in np.unique(labels[labels != 0])}  # mostly zeros: sort the rest alone
    if not found <= set(dataset.labels):
        raise DataError(
            f"{path}: label values {_set(found)}, expected a subset of {_set(dataset.labels)}; "
            f"is this the raw {dataset.title} segmentation?"
        )
    return np.isin(labels, dataset.target_labels)


def _set(values: set[float] | tuple[int, ...]) -> str:
    shown = [f"{value:g}" for value in sorted(values)]
    return "{" + ", ".join(shown if len(shown) <= 8 else [*shown[:7], "…"]) + "}"


def _xyz(volume: nifti.Volume) -> tuple[int, ...]:
    return volume.voxels.shape[::-1]


READERS: dict[str, tuple[Callable[[Dataset, Case], Scan], Callable[[Dataset, Case], tuple[int, int, int]]]] = {
    "nifti": (_read_nifti, _read_nifti_shape),
    "tiff_slices": (_read_tiff_slices, _read_tiff_shape),
}
