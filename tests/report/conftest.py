"""Finished studies without training: entries whose scores `pam.metrics` computed from masks drawn at random."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pam import home, ledger, views
from pam.cells import describe
from pam.data.view import packed, view_slice
from pam.evaluate import in_unit
from pam.metrics import score, score_slices
from pam.study import Study

PATIENTS, SLICES, SIDE = 4, 6, 24
Sweep = Callable[..., dict[str, Any]]
Masks = Callable[[str, int, int], dict[str, tuple[np.ndarray, np.ndarray]]]


def scored(cell_id: str, who: tuple[str, int, int], masks: Masks, spacing: float, **provenance: Any) -> ledger.Entry:
    """The entry of a cell, (label, fold, seed), whose test patients have these (predictions, targets), each n h w."""
    told = {"git_commit": "e15de6a", "parameters": 3_129_248, "train_seconds": 70.5, "peak_memory_mb": 812.0}
    return ledger.Entry(
        cell={"id": cell_id},
        provenance={**told, "device": "cpu × 1", "started": "2026-11-01T08:00:00+00:00", **provenance},
        epochs=pd.DataFrame({"epoch": [1], "loss": [0.5], "learning_rate": [1e-4], "seconds": [70.5]}),
        **frames(masks, who, spacing),
    )


@lru_cache(maxsize=512)  # many tests sweep the same study
def frames(masks: Masks, who: tuple[str, int, int], spacing: float) -> dict[str, pd.DataFrame]:
    """The tables of an entry that follow from its masks; nobody changes them."""
    slices, cases, predictions, attention = [], [], [], []
    for patient, (prediction, target) in masks(*who).items():
        names = {"patient": patient, "case": f"{patient} scan"}
        for number, scores in enumerate(score_slices(prediction, target)):
            slices.append({**names, "slice": number, **in_unit(scores, "px")})
            size = {"height": target.shape[1], "width": target.shape[2]}
            predictions.append({**names, "slice": number, **size, "mask": packed(prediction[number])})
        cases.append({**names, "slices": len(target), **in_unit(score(prediction, target, (spacing,) * 3), "mm")})
        values = np.random.default_rng(len(cases)).random((3, 3)).astype(np.float16).tobytes()
        place = {"slice": view_of(target), "module": "bridge.attention", "height": 3, "width": 3}
        attention.append({**names, **place, "values": values})
    tables = {"slices": slices, "cases": cases, "predictions": predictions, "attention": attention}
    return {name: pd.DataFrame(rows) for name, rows in tables.items()}


def view_of(target: np.ndarray) -> int:
    sizes = target.sum((1, 2))
    return view_slice(sizes, sizes)


def write_views(data_hash: str, targets: dict[str, np.ndarray]) -> None:
    """The views of cases whose images are noise around their targets, each n h w."""
    rows = []
    for patient, target in targets.items():
        at = view_of(target)
        image = np.random.default_rng(0).integers(40, 90, target[at].shape) + 120 * target[at]
        size = {"height": target.shape[1], "width": target.shape[2], "turned": True, "modality": "T1ce"}
        pixels = {"image": image.astype(np.uint8).tobytes(), "target": packed(target[at])}
        rows.append({"case": f"{patient} scan", "patient": patient, "slice": at, **size, **pixels})
    path = views.path_of(data_hash)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def identity(label: str, fold: int, seed: int) -> str:
    return hashlib.sha256(f"{label}/{fold}/{seed}".encode()).hexdigest()[:16]


def discs(generator: np.random.Generator, count: int) -> np.ndarray:
    """Discs of random place and radius, about every sixth one absent."""
    y, x = np.mgrid[:SIDE, :SIDE]
    centres, radii = generator.uniform(8, 15, (count, 2)), generator.uniform(2, 6, count)
    radii[generator.random(count) < 1 / 6] = -1
    return np.stack([np.hypot(y - cy, x - cx) < r for (cy, cx), r in zip(centres, radii, strict=True)])


def random_masks(label: str, fold: int, seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Targets that depend on the fold alone, predictions that move away from them by cell."""
    masks = {}
    for number in range(PATIENTS):
        target = discs(np.random.default_rng([fold, number]), SLICES)
        generator = np.random.default_rng([*identity(label, fold, seed).encode(), number])
        prediction = np.roll(target, generator.integers(-2, 3, 2), axis=(1, 2))
        prediction[generator.random(SLICES) < 0.1] = False
        masks[f"patient {fold}{number}"] = (prediction, target)
    return masks


def manifest_of(study: Study, folds: Collection[int], seeds: Collection[int], **changes: Any) -> dict[str, Any]:
    cells = [
        describe(replace(cell, data_hash="0123456789abcdef", split_hash=f"split {cell.fold} of {cell.label}"))
        for cell in study.cells(folds, seeds)
    ]
    return {
        "study": study.name,
        "question": study.question,
        "dataset": study.dataset,
        "title": "BRATS 2018",
        "phantom": False,
        "demo": False,
        "settings": {},
        "folds": study.folds,
        "seeds": study.seeds,
        "data_hash": "0123456789abcdef",
        "written": "2026-11-24T12:00:00+00:00",
        "cells": sorted(cells, key=lambda cell: (cell["seed"], cell["fold"], cell["label"])),
        **changes,
    }


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The PAM_HOME of what a file's tests share; each test still begins with its own."""
    path = tmp_path_factory.mktemp("shared")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAM_HOME", str(path))
        yield path


@pytest.fixture(scope="session")
def swept() -> Sweep:
    """Writes manifest and entries of a study, as a sweep would, except those in `without`: (label, fold, seed)."""

    def sweep(
        study: Study,
        folds: Collection[int] | None = None,
        seeds: Collection[int] | None = None,
        without: Collection[tuple[str, int, int]] = (),
        masks: Masks = random_masks,
        provenance: Callable[[str, int, int], dict[str, Any]] = lambda *_: {},
        spacing: float = 1.0,
        **changes: Any,
    ) -> dict[str, Any]:
        folds = range(study.folds) if folds is None else folds
        seeds = range(study.seeds) if seeds is None else seeds
        manifest = manifest_of(study, folds, seeds, **changes)
        path = home.studies() / study.name / f"{manifest['dataset']}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(manifest))
        scans = [masks(cell["label"], cell["fold"], cell["seed"]) for cell in manifest["cells"]]
        write_views(manifest["data_hash"], {name: target for of in scans for name, (_, target) in of.items()})
        for cell in manifest["cells"]:
            who = (cell["label"], cell["fold"], cell["seed"])
            if who not in without:
                ledger.write(scored(cell["id"], who, masks, spacing, **provenance(*who)))
        return manifest

    return sweep
