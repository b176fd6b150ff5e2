"""A first look at all files of a store to be: their hashes, their shapes, and so the place of each case."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pam.data import parts
from pam.data.processes import Count, each_in_threads
from pam.data.room import Room
from pam.datasets.dataset import Case, Dataset
from pam.errors import DataError

# Part of every store's key. Raise it by any change of code that alters what a store holds.
PREPARE_VERSION = 1
SIZE_MULTIPLE = 8  # every network of the zoo halves its input three times


@dataclass(frozen=True, kw_only=True)
class Place:
    """A case and its place in the store."""

    case: Case
    source_hash: str
    shape: tuple[int, int, int]  # d H W of the source
    first: int  # row of its first slice
    room: Room  # what it takes to read it, at most


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

    @property
    def largest(self) -> Place:
        """The case that takes the most memory."""
        return max(self.places, key=lambda place: place.room.memory)

    def scratch(self, workers: int) -> int:
        """Bytes of the disk that so many workers take at most while they read cases too large for memory."""
        return sum(sorted(place.room.disk for place in self.places)[-workers:])


def survey(dataset: Dataset, cases: Sequence[Case], left_out: Sequence[Case], workers: int, progress: Count) -> Plan:
    """Hash the cases' files and read their shapes. Raises `DataError` for the first bad case."""
    looked = each_in_threads(partial(_look, dataset), cases, workers, progress)
    places, first = [], 0
    for case, (source_hash, shape, room) in zip(cases, looked, strict=True):
        places.append(Place(case=case, source_hash=source_hash, shape=shape, first=first, room=room))
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


def _look(dataset: Dataset, case: Case) -> tuple[str, tuple[int, int, int], Room]:
    """Content hash of the case's files, its shape, and what it takes to read it."""
    shape = parts.read_shape(dataset, case)
    digest = hashlib.sha256()
    for path in case.files:
        digest.update(_file_hash(path))
    digest.update(json.dumps(case.numbers).encode())
    return digest.hexdigest(), shape, parts.room_for(dataset, case)


def _file_hash(path: Path) -> bytes:
    if not path.exists():
        raise DataError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); is it a file, and may you read it? Restore it"
        ) from error
