"""All files of a case: read, and compared with each other and with what the data set promises."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeVar

import numpy as np

from pam.data import frames, nifti, tiff
from pam.data.geometry import Geometry
from pam.data.pieces import chunks, flat
from pam.data.room import Room, of_volumes
from pam.datasets.dataset import Case, Dataset
from pam.errors import DataError

PLANE = 2**16  # labels that are looked at at once
AFFINE_TOLERANCE_MM = 0.01  # files of one case are resampled to one grid; headers differ by rounding alone

Content = TypeVar("Content")
Shrink = Callable[[Path, np.ndarray, tuple[int, int]], np.ndarray]
Report = Callable[[Path, str], None]  # hears of each problem; a reader goes on with what is left if this returns


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What could be read of a case: a scan whose parts may be absent."""

    images: tuple[np.ndarray | None, ...]  # one d h w per modality
    labels: np.ndarray | None  # d h w, the values of the file
    spacing_mm: tuple[float, float, float] | None = None
    geometry: Geometry | None = None
    on_disk: bool = False  # whether the arrays lie in files, the case being too large for memory


def read(dataset: Dataset, case: Case, report: Report) -> Parts:
    """Read what can be read of a case; `report` hears of everything that breaks the data set's promise."""
    return READERS[dataset.reader][0](dataset, case, report)


def read_shape(dataset: Dataset, case: Case) -> tuple[int, int, int]:
    """A case's shape (d h w), from the headers alone."""
    return READERS[dataset.reader][1](dataset, case)


def room_for(dataset: Dataset, case: Case) -> Room:
    """What it takes to read a case, from the headers alone.

    Files of other kinds than NIfTI hold 8 bits per value: as many bytes as values, twice while they are put together.
    """
    if dataset.reader.startswith("nifti"):
        return _room(dataset, case, refuse)
    values = math.prod(read_shape(dataset, case)) * dataset.shrink**2 * (len(dataset.modalities) + 1)
    return Room(memory=2 * values, disk=0)


def _room(dataset: Dataset, case: Case, report: Report) -> Room:
    sizes = [_attempt(report, path, nifti.size) for path in case.files]
    resampled = sum(name in dataset.resampled for name in dataset.modalities)
    return of_volumes([size for size in sizes if size], resampled)


def _on_disk(dataset: Dataset, case: Case) -> bool:
    """Whether the case is too large for memory, as far as its headers can be read; the others are told of later."""
    return _room(dataset, case, lambda *_: None).disk > 0


def refuse(path: Path, message: str) -> NoReturn:
    raise DataError(f"{path}: {message}")


def _attempt(report: Report, path: Path, reader: Callable[[Path], Content]) -> Content | None:
    """What the reader makes of the file; None after a report of its error."""
    try:
        return reader(path)
    except DataError as error:
        report(path, str(error).removeprefix(f"{path}: "))
        return None


def _read_nifti(dataset: Dataset, case: Case, report: Report) -> Parts:
    on_disk = _on_disk(dataset, case)
    volumes = [_attempt(report, path, partial(nifti.read, on_disk=on_disk)) for path in case.images]
    return _on_one_grid(dataset, case, case.images, volumes, report, on_disk=on_disk)


def _read_nifti_stack(dataset: Dataset, case: Case, report: Report) -> Parts:
    count, on_disk = len(dataset.modalities), _on_disk(dataset, case)
    stack = _attempt(report, case.images[0], partial(nifti.read_stack, count=count, on_disk=on_disk))
    return _on_one_grid(dataset, case, case.images * count, stack or [None] * count, report, on_disk=on_disk)


def _on_one_grid(
    dataset: Dataset,
    case: Case,
    paths: Sequence[Path],
    volumes: Sequence[nifti.Volume | None],
    report: Report,
    *,
    on_disk: bool,
) -> Parts:
    """The volumes and the target, compared; those on a grid of their own brought to the others'."""
    target = _attempt(report, case.target[0], partial(nifti.read, on_disk=on_disk)) if case.target else None
    own = [volume for name, volume in zip(dataset.modalities, volumes, strict=True) if name not in dataset.resampled]
    grid = target or next((volume for volume in own if volume), None)
    volumes = [
        nifti.resample(volume, grid, on_disk=on_disk) if volume and grid and name in dataset.resampled else volume
        for name, volume in zip(dataset.modalities, volumes, strict=True)
    ]
    pairs = zip((*case.target, *paths), (*([target] if case.target else []), *volumes), strict=True)
    known = [(path, volume) for path, volume in pairs if volume is not None]
    for path, volume in known[1:]:
        _compare(path, volume, *known[0], report)
    if target is not None:
        _check_labels(dataset, case.target[0], target.voxels, report)
    return Parts(
        images=tuple(None if volume is None else volume.voxels for volume in volumes),
        labels=None if target is None else target.voxels,
        spacing_mm=known[0][1].spacing_mm if known else None,
        geometry=None if volumes[0] is None else volumes[0].geometry,
        on_disk=on_disk,
    )


def _compare(path: Path, volume: nifti.Volume, other: Path, reference: nifti.Volume, report: Report) -> None:
    if volume.voxels.shape != reference.voxels.shape:
        report(
            path,
            f"shape {_xyz(volume)} differs from that of {other.name}, {_xyz(reference)} "
            "(x y z, RAS); expected one grid per case",
        )
    elif not np.allclose(volume.affine, reference.affine, rtol=0, atol=AFFINE_TOLERANCE_MM):
        report(path, f"spacing, axes or origin differ from those of {other.name}; expected one grid per case")


def _read_nifti_shape(_: Dataset, case: Case) -> tuple[int, int, int]:
    return nifti.read_shape(case.target[0] if case.target else case.images[0])


def _read_tiff_slices(dataset: Dataset, case: Case, report: Report) -> Parts:
    channels = len(dataset.modalities)
    images, masks = _stack(case.images, channels, report), _stack(case.target, 1, report)
    if images is not None and masks is not None and masks.shape != images.shape[:3]:
        message = f"mask of {masks.shape[1:]} pixels, slice of {images.shape[1:3]}; expected the same"
        report(case.target[0], message)
    for path, mask in zip(case.target, masks if masks is not None else (), strict=masks is not None):
        _check_labels(dataset, path, mask, report)
    if dataset.shrink > 1:
        images = _slice_wise(_shrunk, dataset, case.images, images, report)
        masks = _slice_wise(partial(_shrunk_target, dataset), dataset, case.target, masks, report)
    split = (None,) * channels if images is None else tuple(np.moveaxis(images, -1, 0))
    return Parts(images=split, labels=masks)


def _slice_wise(
    shrink: Shrink, dataset: Dataset, paths: tuple[Path, ...], slices: np.ndarray | None, report: Report
) -> np.ndarray | None:
    """The slices (d h w or d h w c), if there are any, each with its rows and columns brought down."""
    if slices is None:
        return None
    size, last = _shrunk_size(dataset, slices.shape[1:3]), np.moveaxis(slices, 0, -1)
    shrunk = _attempt(report, paths[0], lambda path: shrink(path, last, size))
    return None if shrunk is None else np.moveaxis(shrunk, -1, 0)


def _shrunk_size(dataset: Dataset, size: tuple[int, ...]) -> tuple[int, int]:
    return size[0] // dataset.shrink, size[1] // dataset.shrink


def _read_tiff_shape(dataset: Dataset, case: Case) -> tuple[int, int, int]:
    return len(case.images), *_shrunk_size(dataset, tiff.read_shape(case.images[0], len(dataset.modalities)))


def _stack(paths: tuple[Path, ...], channels: int, report: Report) -> np.ndarray | None:
    """The slices d h w (c), if all can be read and are of one size."""
    slices = [_attempt(report, path, lambda path: tiff.read(path, channels)) for path in paths]
    read = [(path, pixels) for path, pixels in zip(paths, slices, strict=True) if pixels is not None]
    odd = [(path, pixels) for path, pixels in read if pixels.shape != read[0][1].shape]
    for path, pixels in odd:
        first, shape = read[0][0].name, read[0][1].shape[:2]
        report(path, f"{pixels.shape[:2]} pixels, {first} has {shape}; expected one size per case")
    return np.stack([pixels for _, pixels in read]) if read and not odd and len(read) == len(paths) else None


def _read_frame(dataset: Dataset, case: Case, report: Report) -> Parts:
    assert dataset.size is not None, "a data set of frames says to which size they are brought"
    size = dataset.size
    pixels = _attempt(report, case.images[0], lambda path: _shrunk(path, frames.read(path, "RGB"), size))
    labels = _attempt(report, case.target[0], lambda path: frames.read(path, "L")) if case.target else None
    masks = None
    if labels is not None:
        _check_labels(dataset, case.target[0], labels, report)
        shrunk = _attempt(report, case.target[0], lambda path: _shrunk_target(dataset, path, labels, size))
        masks = None if shrunk is None else shrunk[None]
    split = (None,) * len(dataset.modalities) if pixels is None else tuple(np.moveaxis(pixels, -1, 0)[:, None])
    return Parts(images=split, labels=masks)


def _shrunk(path: Path, pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    try:
        return frames.shrink(pixels, size)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _shrunk_target(dataset: Dataset, path: Path, pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Labels: the target where at least half of the pixels that one stands for are."""
    fraction = _shrunk(path, np.isin(pixels, dataset.target_labels), size)
    return np.where(fraction >= 0.5, dataset.target_labels[0], 0)


def _read_frame_shape(dataset: Dataset, _: Case) -> tuple[int, int, int]:
    assert dataset.size is not None
    return 1, *dataset.size


def _check_labels(dataset: Dataset, path: Path, labels: np.ndarray, report: Report) -> None:
    """Report labels that are not the data set's."""
    some = chunks(flat(labels), PLANE)
    found = {0} | {value.item() for chunk in some for value in np.unique(chunk[chunk != 0])}  # zeros need no sorting
    if not found <= set(dataset.labels):
        report(
            path,
            f"label values {_set(found)}, expected a subset of {_set(dataset.labels)}; "
            f"is this the raw {dataset.title} segmentation?",
        )


def _set(values: set[float] | tuple[int, ...]) -> str:
    shown = [f"{value:g}" for value in sorted(values)]
    return "{" + ", ".join(shown if len(shown) <= 8 else [*shown[:7], "…"]) + "}"


def _xyz(volume: nifti.Volume) -> tuple[int, ...]:
    return volume.voxels.shape[::-1]


Read = Callable[[Dataset, Case, Report], Parts]
ReadShape = Callable[[Dataset, Case], tuple[int, int, int]]
READERS: dict[str, tuple[Read, ReadShape]] = {
    "nifti": (_read_nifti, _read_nifti_shape),
    "nifti_stack": (_read_nifti_stack, _read_nifti_shape),
    "frames": (_read_frame, _read_frame_shape),
    "tiff_slices": (_read_tiff_slices, _read_tiff_shape),
}
