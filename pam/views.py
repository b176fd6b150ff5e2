"""What figures show of a data set: one slice of each case with its target, so that a report needs no slice store.

One Parquet file per data hash under `pam.home.views()`, written by a sweep. It holds parts of patients' images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pam import files, home
from pam.data.store import Store
from pam.data.view import packed, unpacked, view_slice
from pam.datasets import DATASETS
from pam.errors import ResultsError
from pam.files import whole

LIMIT_BYTES = 64 * 2**20  # of pixels: 2,600 cases of 160×160; of a larger data set, evenly spaced cases
WINDOW = (0.5, 99.5)  # percentiles of the brain's intensities that become black and white
PARTS = ("case", "patient", "slice", "height", "width", "turned", "modality", "image", "target")


@dataclass(frozen=True, kw_only=True)
class View:
    """A case's slice as it is shown: `VIEW` of `pam.data.view`, its image (h w uint8) and its target (h w bool).

    turned: the arrays, and every mask of this slice, are shown turned by 180°, which brings a slice in RAS+ to the
    radiologist's view: the front on top, the patient's right on the left.
    """

    case: str
    patient: str
    slice: int
    turned: bool
    modality: str
    image: np.ndarray
    target: np.ndarray

    def shown(self, values: np.ndarray) -> np.ndarray:
        """An array (h w) of the slice, turned as it is to be seen."""
        return np.rot90(values, 2) if self.turned else values


def path_of(data_hash: str) -> Path:
    return home.views() / f"{data_hash}.parquet"


def write(store: Store, limit: int = LIMIT_BYTES) -> None:
    """Write the store's views unless they are there."""
    path = path_of(store.hash)
    if files.exists(path):
        return
    modality = DATASETS.build(store.dataset).shown or store.modalities[-1]
    height, width = store.images.shape[-2:]
    columns: dict[str, list[object]] = {part: [] for part in PARTS}
    for case in _chosen(store.cases, limit // (height * width)):
        rows = store.index.loc[store.rows(case)]
        at = view_slice(rows.target_pixels.to_numpy(), rows.brain_pixels.to_numpy())
        row = rows.index[at]
        image = grey(store.images[row], store.modalities.index(modality))
        target, turned = packed(store.masks[row] > 0), store.geometry(case) is not None
        number, patient = int(rows.slice.iloc[at]), str(rows.patient.iloc[at])
        values = (case, patient, number, height, width, turned, modality, image.tobytes(), target)
        for part, value in zip(PARTS, values, strict=True):
            columns[part].append(value)
    with whole(path) as file:
        pq.write_table(pa.table(columns), file, compression="zstd")


def read(data_hash: str) -> dict[str, View]:
    """The views by case; empty if no sweep has written any. Raises `ResultsError` for a damaged file."""
    path = path_of(data_hash)
    if not files.exists(path):
        return {}
    try:
        rows = pq.read_table(files.here(path, keep=True), columns=list(PARTS), partitioning=None).to_pylist()
    except (OSError, pa.ArrowInvalid, KeyError) as error:
        raise ResultsError(f"{path}: cannot be read ({error}); delete it and run the sweep again") from error
    return {row["case"]: _view(row) for row in rows}


def grey(image: np.ndarray, channel: int) -> np.ndarray:
    """A modality of a normalised slice (c h w) as h w uint8: `WINDOW` of its brain; black where every modality is 0."""
    values = image[channel].astype(np.float32)
    brain = (image != 0).any(axis=0)
    low, high = np.percentile(values[brain], WINDOW) if brain.any() else (0.0, 0.0)
    scaled = np.clip((values - low) / max(high - low, 1e-6), 0, 1) * 255
    return np.where(brain, scaled.round(), 0).astype(np.uint8)


def _chosen(cases: tuple[str, ...], most: int) -> tuple[str, ...]:
    if len(cases) <= most:
        return cases
    return tuple(cases[i] for i in np.linspace(0, len(cases) - 1, max(1, most)).round().astype(int))


def _view(row: Mapping[str, Any]) -> View:
    height, width = row["height"], row["width"]
    return View(
        case=row["case"],
        patient=row["patient"],
        slice=row["slice"],
        turned=row["turned"],
        modality=row["modality"],
        image=np.frombuffer(row["image"], np.uint8).reshape(height, width),
        target=unpacked(row["target"], height, width),
    )
