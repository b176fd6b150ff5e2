"""A study's choice of its split, in one word and what it needs: see `CHOICES`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pam.data import folds
from pam.data.folds import Split
from pam.data.splits import RATIO
from pam.data.store import Store
from pam.errors import StudyError

CHOICES = {
    "folds": "folds by patient",
    "stratified": "folds by patient, stratified by target size",
    "ratio": "at random by patient",  # "ratio", or "ratio=0.6:0.2:0.2": training, validation, test
    "fixed": "the data set's own",  # "fixed", or "fixed=ulm": the training patient that is held out
    "nnunet": "imported from nnU-Net",  # "nnunet=FILE", a splits_final.json
}
IN_FOLDS = ("folds", "stratified")
EXPECTED = "folds, stratified, ratio, ratio=0.7:0.1:0.2, fixed, fixed=PATIENT (held out) or nnunet=splits_final.json"


@dataclass(frozen=True)
class Choice:
    """A choice, taken apart. Raises `StudyError` for one that does not exist."""

    kind: str
    detail: str = ""

    def __post_init__(self) -> None:
        wrong = self.kind not in CHOICES or (bool(self.detail) and self.kind in IN_FOLDS)
        if wrong or (self.kind == "nnunet" and not self.detail):
            written = "=".join(filter(None, (self.kind, self.detail)))
            raise StudyError(f"study field 'split' is {written!r}; expected one of: {EXPECTED}")

    @property
    def ratio(self) -> tuple[float, float, float]:
        if not self.detail:
            return RATIO
        try:
            training, validation, test = map(float, self.detail.split(":"))
        except ValueError as error:
            raise StudyError(f"study field 'split' is 'ratio={self.detail}'; expected 'ratio=0.7:0.1:0.2'") from error
        return training, validation, test


def parse(text: str) -> Choice:
    """Raises `StudyError` for a choice that does not exist."""
    kind, _, detail = text.partition("=")
    choice = Choice(kind, detail)
    if choice.kind == "ratio":
        choice.ratio  # noqa: B018  # raises for what are no three numbers
    return choice


def splits_of(store: Store, text: str, k: int) -> tuple[Split, ...]:
    """The store's splits by this choice; `k` counts where it is of folds.

    Raises `StudyError` for a choice that does not exist, `DataError` where the store cannot be split so.
    """
    choice = parse(text)
    match choice.kind:
        case "folds":
            return tuple(store.folds(k))
        case "stratified":
            return tuple(store.stratified_folds(k))
        case "ratio":
            return (store.ratio_split(choice.ratio),)
        case "fixed":
            return (store.fixed_split(choice.detail or None),)
        case _:
            return tuple(store.nnunet_splits(Path(choice.detail).expanduser()))


def describe(text: str, splits: Sequence[Split]) -> dict[str, Any]:
    """What a manifest and a report say of a study's splits: how they were chosen, in words, and content hashes."""
    choice = parse(text)
    words = CHOICES[choice.kind]
    match choice.kind:
        case "ratio":
            words += f", {':'.join(f'{share:g}' for share in choice.ratio)}"
        case "fixed":
            words += f", {', '.join(splits[0].validation)} held out"
        case "nnunet":
            words += f"'s {Path(choice.detail).name}"
    count = f"{len(splits)} {words}" if choice.kind in IN_FOLDS else f"{words} ({len(splits)} in all)"
    return {
        "choice": text,
        "kind": choice.kind,
        "words": count,
        "hash": folds.splits_hash(splits),
        "hashes": [split.hash for split in splits],
    }
