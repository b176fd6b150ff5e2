"""One slice store, written case by case at places that a first look at all headers has fixed."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import zlib
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pam.data import columns, resume, scans
from pam.data.geometry import Crop, centre_crop
from pam.data.processes import Count, each
from pam.data.scale import Scale
from pam.data.slices import cut, scales
from pam.data.store import ABOUT, IMAGES, INDEX, MASKS
from pam.data.survey import PREPARE_VERSION, Place, Plan
from pam.datasets.dataset import Dataset
from pam.errors import DataError

WORTH_A_PROCESS = 50_000_000  # bytes of a store: less is written sooner than a process starts
PIXELS_AT_ONCE = 2**18  # of each modality: they stay in a core's cache
CONTENT = ["patient", "case", "slice", "spacing_d", "spacing_h", "spacing_w"]  # the index's part of the content hash


def build(plan: Plan, path: Path, workers: int, progress: Count) -> None:
    """Write the store into a folder, `store.json` last; cases that an earlier, killed build has stored stay.

    Raises `DataError` for the first bad case.
    """
    resume.start(path)
    count, channels, height, width = plan.shape
    needed = count * height * width * (channels * np.dtype(np.float16).itemsize + 1)
    workers = min(workers, 1 + needed // WORTH_A_PROCESS)
    _check_space(path, needed - sum(_on_disk(path / name) for name in (IMAGES, MASKS)) + plan.scratch(workers))
    _allocate(path / IMAGES, plan.shape, np.float16)
    _allocate(path / MASKS, (count, height, width), np.uint8)
    stored = each(
        partial(_store_case, plan.dataset, plan.size, path),
        plan.places,
        workers,
        progress,
    )
    _check_copies(plan, path, [about["crc32"] for _, about in stored])
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


def _check_copies(plan: Plan, path: Path, checksums: Sequence[Sequence[int]]) -> None:
    """Raise `DataError` if a modality of two patients is one scan: a fold would test what it was trained on."""
    images = np.load(path / IMAGES, mmap_mode="r")
    seen: dict[tuple[int, int], list[Place]] = defaultdict(list)
    for place, sums in zip(plan.places, checksums, strict=True):
        for channel, checksum in enumerate(sums):
            for other in seen[channel, checksum]:
                if other.case.patient != place.case.patient and _one_scan(images[:, channel], place, other):
                    raise DataError(
                        f"{place.case.images[0].parent}: {plan.dataset.modalities[channel]} equal to case "
                        f"{other.case.case} of patient {other.case.patient}, so that training and test scans would be "
                        f"one; remove the copy, or leave both out with --skip-bad"
                    )
            seen[channel, checksum].append(place)


def _one_scan(images: np.ndarray, place: Place, other: Place) -> bool:
    """Whether a modality (n h w) of two cases is equal; one that is empty within the crop tells nothing."""
    one, two = (images[case.first : case.first + case.shape[0]] for case in (place, other))
    return one.shape == two.shape and bool((one != one[0, 0, 0]).any()) and np.array_equal(one, two)


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
    target_pixels, target_cut, brain_pixels, checksums = _write_slices(path, place, scan, scaled, crop)
    about = {
        "patient": place.case.patient,
        **({"part": place.case.part} if place.case.part else {}),
        "first": place.first,
        "slices": place.shape[0],
        "hash": resume.slices_hash(path, place.first, place.shape[0]),
        "source": crop.source,
        "top": crop.top,
        "left": crop.left,
        "target_cut": target_cut,
        "geometry": scan.geometry and {"header": scan.geometry.header.hex(), "shape": scan.geometry.shape},
        "source_hash": place.source_hash,
        "crc32": checksums,
        "largest": [math.ceil(10 * how.largest) / 10 for how in scaled],
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
) -> tuple[np.ndarray, int, np.ndarray, list[int]]:
    """Write a case's slices to their place, some at a time.

    Target pixels of each, those that the crop cuts off in all, brain pixels of each, CRC-32 per modality.
    """
    at_once = max(1, PIXELS_AT_ONCE // math.prod(crop.size))
    target_pixels, brain_pixels, checksums, target = [], [], [0] * len(scaled), 0
    with (
        resume.rows_of(path / IMAGES, place.first, "r+b") as (images, _),
        resume.rows_of(path / MASKS, place.first, "r+b") as (masks, _),
    ):
        for slab in scan.slabs():
            target += int(np.count_nonzero(slab.target))
            for first in range(0, len(slab.target), at_once):
                slices = cut(slab, scaled, crop, slice(first, first + at_once))
                images.write(slices.images.data)
                masks.write(slices.masks.data)
                target_pixels.append(slices.masks.sum((1, 2), dtype=np.int64))
                brain_pixels.append(slices.brain_pixels)
                for image in slices.images:
                    checksums = [zlib.crc32(plane, so_far) for plane, so_far in zip(image, checksums, strict=True)]
    inside = np.concatenate(target_pixels)
    return inside, target - int(inside.sum()), np.concatenate(brain_pixels), checksums


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


def _on_disk(path: Path) -> int:
    """Bytes of the disk that a file takes: what an earlier, killed build has written is not needed again."""
    return path.stat().st_blocks * 512 if path.exists() else 0


def _allocate(path: Path, shape: tuple[int, ...], dtype: type) -> None:
    if not path.exists():
        unfinished = path.with_suffix(".new")
        np.lib.format.open_memmap(unfinished, mode="w+", dtype=dtype, shape=shape)
        unfinished.replace(path)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
