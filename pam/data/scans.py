"""Checked scans: all modalities of a case and its target, on one grid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from pam.data.geometry import Geometry
from pam.data.parts import read as parts_of
from pam.data.parts import refuse
from pam.data.pieces import chunks, flat, keep, planes, rows_at_once
from pam.datasets.dataset import Case, Dataset

VALUES = 2**16  # labels that are looked at at once


@dataclass(frozen=True, kw_only=True)
class Scan:
    """A case, checked: its modalities and its target on one grid. Its arrays may lie in files: see `slabs`."""

    images: tuple[np.ndarray, ...]  # one d h w per modality, of the files' own types
    target: np.ndarray  # d h w, bool; may be empty
    numbers: tuple[int, ...]  # d, the slices' numbers in the source
    spacing_mm: tuple[float, float, float] | None  # d h w; None: the source does not tell
    geometry: Geometry | None  # None: the source has none

    def slabs(self) -> Iterator[Scan]:
        """The scan, some successive slices at a time, in memory."""
        for rows in rows_at_once(*self.images, self.target):
            yield replace(
                self,
                images=tuple(planes(voxels, rows) for voxels in self.images),
                target=planes(self.target, rows),
                numbers=self.numbers[rows],
            )


def read(dataset: Dataset, case: Case) -> Scan:
    """Read a case whole; the target of one without a mask file is empty.

    Raises `DataError` for a file or a mismatch that breaks the data set's promise.
    """
    parts = parts_of(dataset, case, refuse)
    images = tuple(voxels for voxels in parts.images if voxels is not None)
    assert len(images) == len(parts.images), "`refuse` let a problem pass"
    shape = images[0].shape
    return Scan(
        images=images,
        target=np.zeros(shape, bool) if parts.labels is None else _target(parts.labels, dataset, parts.on_disk),
        numbers=case.numbers or tuple(range(shape[0])),
        spacing_mm=parts.spacing_mm,
        geometry=parts.geometry,
    )


def _target(labels: np.ndarray, dataset: Dataset, on_disk: bool) -> np.ndarray:
    """Where the labels (d h w) are the target; plane by plane, since NumPy copies what it is given."""
    slabs = (planes(labels, rows) for rows in rows_at_once(labels))
    found = (np.isin(plane, dataset.target_labels) for slab in slabs for plane in slab)
    return keep(found, labels.shape, bool, on_disk=on_disk)


def has_target(labels: np.ndarray, dataset: Dataset) -> bool:
    """Whether any of the labels (d h w) is the target."""
    return any(np.isin(chunk, dataset.target_labels).any() for chunk in chunks(flat(labels), VALUES))
