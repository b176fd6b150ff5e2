"""One slice store, written case by case at places that a first look at all headers has fixed."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pam.data import columns, resume, scans
from pam.data.geometry import Crop, centre_crop
from pam.data.processes import Count, each, each_in_threads
from pam.data.scale import Scale
from pam.data.slices import cut, scales
from pam.data.store import ABOUT, IMAGES, INDEX, MASKS
from pam.datasets.dataset import Case, Dataset
from pam.errors import DataError

# Part of every store's key. Raise it by any change of code that alters what a store holds.
PREPARE_VERSION = 1
WORTH_A_PROCESS = 50_000_000  # bytes of a store: less is written sooner than a process starts
PIXELS_AT_ONCE = 2**18  # of each modality: they stay in a core's cache
SIZE_MULTIPLE = 8  # every network of the zoo halves its input three times
CONTENT = ["patient", "case", "slice", "spacing_d", "spacing_h", "spacing_w"]  # the index's part of the content hash


@dataclass(frozen=True, kw_only=True)
class Place:
    """A case and its place in the store."""

    case: Case
    source_hash: str
    shape: tuple[int, int, int]  # d H W of the source
    first: int  # row of its first slice


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that is known of a store before its first voxel is read."""

    dataset: Dataset
    places: tuple[Place, ...]
    size: tuple[int, int]
    left_out: tuple[Case, ...]  # for their errors, by the user's wish
    key: str

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """n c h w of the images."""
        return sum(place.shape[0] for place in self.places), len(self.dataset.modalities), *self.size


def survey(dataset: Dataset, cases: Sequence[Case], left_out: Sequence[Case], workers: int, progress: Count) -> Plan:
    """Hash the cases' files and read their shapes. Raises `DataError` for the first bad case."""
    looked = each_in_threads(partial(_look, dataset), cases, workers, progress)
    places, first = [], 0
    for case, (source_hash, shape) in zip(cases, looked, strict=True):
        places.append(Place(case=case, source_hash=source_hash, shape=shape, first=first))
        first += shape[0]
    wanted = dataset.size or [max(place.shape[axis] for place in places) for axis in (1, 2)]
    height, width = (-(-length // SIZE_MULTIPLE) * SIZE_MULTIPLE for length in wanted)
    sources = [
        [place.case.patient, place.case.case, place.source_hash, *filter(None, [place.case.part])] for place in places
    ]
    identity = [PREPARE_VERSION, dataset.preparation(), sources, *([case.case] for case in left_out)]
    return Plan(
        dataset=dataset,
        places=tuple(places),
        size=(height, width),
        left_out=tuple(left_out),
        key=hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:12],
    )


def build(plan: Plan, path: Path, workers: int, progress: Count) -> None:
    """Write the store into a folder, `store.json` last; cases that an earlier, killed build has stored stay.

    Raises `DataError` for the first bad case.
    """
    resume.start(path)
    count, channels, height, width = plan.shape
    needed = count * height * width * (channels * np.dtype(np.float16).itemsize + 1)
    _check_space(path, needed)
    _allocate(path / IMAGES, plan.shape, np.float16)
    _allocate(path / MASKS, (count, height, width), np.uint8)
    stored = each(
        partial(_store_case, plan.dataset, plan.size, path),
        plan.places,
        min(workers, 1 + needed // WORTH_A_PROCESS),
        progress,
    )
    _check_copies(plan.places, [about["hash"] for _, about in stored])
    index = pd.concat([rows for rows, _ in stored], ignore_index=True)
    index.attrs["left_out"] = _left_out(plan)
    index.to_parquet(path / INDEX)
    columns.write(path, columns.of(index))
    about = _about(plan, index, [about for _, about in stored])
    resume.finish(path)
    (path / ABOUT).write_text(json.dumps(about, indent=1, ensure_ascii=False), encoding="utf-8")
    for file in path.iterdir():
        _flush(file)


def _about(plan: Plan, index: pd.DataFrame, cases: list[dict[str, Any]]) -> dict[str, Any]:
    """What `store.json` holds."""
    return {
        "version": PREPARE_VERSION,
        "dataset": plan.dataset.name,
        "title": plan.dataset.title,
        "target": plan.dataset.target,
        "phantom": plan.dataset.phantom,
        "modalities": plan.dataset.modalities,
        "preparation": plan.dataset.preparation(),
        "shape": plan.shape,
        "hash": _content_hash(plan, index, [about["hash"] for about in cases]),
        "cases": {place.case.case: about for place, about in zip(plan.places, cases, strict=True)},
        "left_out": _left_out(plan),
        "note": plan.dataset.note,
    }


def _left_out(plan: Plan) -> list[dict[str, Any]]:
    return [
        {"case": case.case, "patient": case.patient, "errors": [f"{e.path}: {e.message}" for e in case.errors]}
        for case in plan.left_out
    ]


def _check_copies(places: Sequence[Place], hashes: Sequence[str]) -> None:
    """Raise `DataError` if two patients hold one scan: a fold would test what it was trained on."""
    seen: dict[str, Case] = {}
    for place, content in zip(places, hashes, strict=True):
        first = seen.setdefault(content, place.case)
        if first.patient != place.case.patient:
            raise DataError(
                f"{place.case.images[0].parent}: equal to case {first.case} of patient {first.patient}, so that "
                f"training and test scans would be one; remove the copy, or leave both out with --skip-bad"
            )


def _look(dataset: Dataset, case: Case) -> tuple[str, tuple[int, int, int]]:
    """Content hash of the case's files, and its shape."""
    shape = scans.read_shape(dataset, case)
    digest = hashlib.sha256()
    for path in case.files:
        digest.update(_file_hash(path))
    digest.update(json.dumps(case.numbers).encode())
    return digest.hexdigest(), shape


def _file_hash(path: Path) -> bytes:
    if not path.exists():
        raise DataError(f"{path}: no such file")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _store_case(
    dataset: Dataset, size: tuple[int, int], path: Path, place: Place
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Write one case's slices to their place; its rows of the index, and what the store says of it."""
    stored = resume.stored(path, place.first, place.shape[0])
    if stored is not None:
        return stored
    scan = scans.read(dataset, place.case)
    if scan.target.shape != place.shape:
        raise DataError(f"{place.case.target[0]}: changed while it was read; prepare the data set again")
    try:
        scaled = scales(scan, dataset)
    except DataError as error:
        raise DataError(f"{place.case.images[0].parent}: {error}") from error
    crop = centre_crop(place.shape[1:], size)
    target_pixels, brain_pixels = _write_slices(path, place, scan, scaled, crop)
    about = {
        "patient": place.case.patient,
        **({"part": place.case.part} if place.case.part else {}),
        "first": place.first,
        "slices": place.shape[0],
        "hash": resume.slices_hash(path, place.first, place.shape[0]),
        "source": crop.source,
        "top": crop.top,
        "left": crop.left,
        "target_cut": int(np.count_nonzero(scan.target)) - int(target_pixels.sum()),
        "geometry": scan.geometry and {"header": scan.geometry.header.hex(), "shape": scan.geometry.shape},
        "source_hash": place.source_hash,
        "largest": [round(how.largest, 1) for how in scaled],
        "loss": [round(how.loss, 7) for how in scaled],
    }
    spacing = scan.spacing_mm or (np.nan,) * 3
    index = pd.DataFrame(
        {
            "patient": place.case.patient,
            "case": place.case.case,
            "slice": scan.numbers,
            "target_pixels": target_pixels,
            "brain_pixels": brain_pixels,
            "spacing_d": spacing[0],
            "spacing_h": spacing[1],
            "spacing_w": spacing[2],
            "crop_top": crop.top,
            "crop_left": crop.left,
            "source_h": crop.source[0],
            "source_w": crop.source[1],
            "source_hash": place.source_hash,
        }
    )
    resume.mark(path, place.first, index, about)
    return index, about


def _write_slices(
    path: Path, place: Place, scan: scans.Scan, scaled: tuple[Scale, ...], crop: Crop
) -> tuple[np.ndarray, np.ndarray]:
    """Write a case's slices to their place, some at a time; target and brain pixels of each."""
    at_once = max(1, PIXELS_AT_ONCE // math.prod(crop.size))
    target_pixels, brain_pixels = [], []
    with (
        resume.rows_of(path / IMAGES, place.first, "r+b") as (images, _),
        resume.rows_of(path / MASKS, place.first, "r+b") as (masks, _),
    ):
        for first in range(0, place.shape[0], at_once):
            slices = cut(scan, scaled, crop, slice(first, first + at_once))
            images.write(slices.images.data)
            masks.write(slices.masks.data)
            target_pixels.append(slices.masks.sum((1, 2), dtype=np.int64))
            brain_pixels.append(slices.brain_pixels)
    return np.concatenate(target_pixels), np.concatenate(brain_pixels)


def _content_hash(plan: Plan, index: pd.DataFrame, cases: list[str]) -> str:
    """Of all that a training or a score can depend on; not of file names, compression or orientation of the source."""
    digest = hashlib.sha256(json.dumps([plan.shape, plan.dataset.modalities, cases]).encode())
    digest.update(index[CONTENT].to_json(orient="values", double_precision=6).encode())
    return digest.hexdigest()[:16]


def _check_space(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path).free
    if free < needed:
        raise DataError(
            f"{path.parent}: {needed / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free; set PAM_HOME to a larger disk"
        )


def _allocate(path: Path, shape: tuple[int, ...], dtype: type) -> None:
    if not path.exists():
        unfinished = path.with_suffix(".new")
        np.lib.format.open_memmap(unfinished, mode="w+", dtype=dtype, shape=shape)
        unfinished.replace(path)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
