"""Splits by patient: k folds, the same for the same patients on every machine, and no patient on both sides."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable
from dataclasses import dataclass

from pam.counts import counted
from pam.errors import DataError

SHUFFLE_SEED = 0


@dataclass(frozen=True)
class Split:
    """Patients to train on, to test on and, where a split names them, to select by; each sorted, none twice."""

    train: tuple[str, ...]
    test: tuple[str, ...]
    validation: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.train or not self.test:
            raise DataError(
                f"a split of {len(self.train)} training and {len(self.test)} test patients; expected both above 0"
            )
        sides = [set(self.train), set(self.test), set(self.validation)]
        both = sorted(set().union(*(one & other for one, other in itertools.combinations(sides, 2))))
        if both:
            raise DataError(f"patient {both[0]!r} is on both sides of a split; expected each patient on one")
        for name in ("train", "test", "validation"):
            patients = getattr(self, name)
            if len(set(patients)) != len(patients):
                raise DataError(f"a split names a patient twice under {name!r}; expected each once")
            object.__setattr__(self, name, tuple(sorted(patients)))

    @property
    def hash(self) -> str:
        """Content hash: of who is on which side, of nothing else."""
        sides = [self.train, self.test, *([self.validation] if self.validation else [])]
        return hashlib.sha256(json.dumps(sides).encode()).hexdigest()[:16]


def k_fold(patients: Iterable[str], k: int, *, seed: int = SHUFFLE_SEED) -> tuple[Split, ...]:
    """k splits that test each patient once; sizes of the test sides differ by one at most.

    The order of the patients given does not matter. Raises `DataError` if there are fewer patients than folds.
    """
    shuffled = sorted(set(patients), key=lambda patient: draw(patient, seed))
    if k < 2:
        raise DataError(f"{k} folds; expected at least 2")
    if len(shuffled) < k:
        raise DataError(
            f"{counted(len(shuffled), 'patient')} for {k} folds; expected at least one patient a fold, ask for fewer"
        )
    tests = [set(shuffled[fold::k]) for fold in range(k)]
    return tuple(
        Split(train=tuple(patient for patient in shuffled if patient not in test), test=tuple(test)) for test in tests
    )


def check_folds(splits: Iterable[Split], patients: Iterable[str]) -> None:
    """Raise `DataError` unless the splits test each of these patients once and each split holds all of them."""
    splits, expected = list(splits), sorted(set(patients))
    check_splits(splits, expected)
    if sorted(patient for split in splits for patient in split.test) != expected:
        raise DataError("the splits do not test each patient exactly once")


def check_splits(splits: Iterable[Split], patients: Iterable[str]) -> None:
    """Raise `DataError` unless each split holds each of these patients and no other, and no two test the same one."""
    expected = sorted(set(patients))
    seen: set[str] = set()  # a result would count them twice
    for split in splits:
        held = sorted(split.train + split.test + split.validation)
        if held != expected:
            raise DataError(f"a split of {len(held)} patients does not hold the store's {len(expected)}")
        again = sorted(seen & set(split.test))
        if again:
            raise DataError(f"patient {again[0]!r} is tested by two splits; expected each patient by one at most")
        seen |= set(split.test)


def splits_hash(splits: Iterable[Split]) -> str:
    """Content hash of several splits, in their order."""
    return hashlib.sha256(json.dumps([split.hash for split in splits]).encode()).hexdigest()[:16]


def to_json(splits: Iterable[Split], seed: int = SHUFFLE_SEED) -> str:
    content = [
        {
            "train": split.train,
            "test": split.test,
            **({"validation": split.validation} if split.validation else {}),
            "hash": split.hash,
        }
        for split in splits
    ]
    return json.dumps({"seed": seed, "splits": content}, indent=1, ensure_ascii=False)


def from_json(text: str) -> tuple[Split, ...]:
    """Raises `DataError` if a split is not what was written, by its hash or by a patient on both sides."""
    try:
        entries = json.loads(text)["splits"]
        sides = [(entry["train"], entry["test"], entry.get("validation", ())) for entry in entries]
        hashes = [entry["hash"] for entry in entries]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"not a list of splits ({error})") from error
    splits = tuple(Split(*map(tuple, three)) for three in sides)
    for split, written in zip(splits, hashes, strict=True):
        if split.hash != written:
            raise DataError(f"a split was changed by hand: its hash is {split.hash}, expected {written}")
    return splits


def draw(patient: str, seed: int) -> bytes:
    """A random key that depends on patient and seed alone: no library's generator may change the folds."""
    return hashlib.sha256(f"{seed}/{patient}".encode()).digest()
