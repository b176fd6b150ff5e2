"""Other splits than k plain folds: stratified, by ratio, the data set's own, nnU-Net's; and one inside a training side.

All are by patient, functions of their arguments alone, and the same on every machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from pam.counts import counted
from pam.data.folds import SHUFFLE_SEED, Split, draw
from pam.errors import DataError

RATIO = (0.7, 0.1, 0.2)  # the paper's, for ISLES 2018: training, validation, test


def stratified_k_fold(sizes: Mapping[str, float], k: int, *, seed: int = SHUFFLE_SEED) -> tuple[Split, ...]:
    """k splits that test each patient once, each test side with the range of target sizes that all patients have.

    `sizes` holds each patient's target size. Patients in the order of their sizes are dealt in rounds of k, each round
    in a drawn order. Raises `DataError` if there are fewer patients than folds.
    """
    if k < 2:
        raise DataError(f"{k} folds; expected at least 2")
    if len(sizes) < k:
        raise DataError(
            f"{counted(len(sizes), 'patient')} for {k} folds; expected at least one patient a fold, ask for fewer"
        )
    ordered = sorted(sizes, key=lambda patient: (sizes[patient], draw(patient, seed)))
    tests: list[list[str]] = [[] for _ in range(k)]
    for first in range(0, len(ordered), k):
        dealt = sorted(ordered[first : first + k], key=lambda patient: draw(patient, seed))
        # A last, short round goes to folds that its patients draw too, not always to the first ones.
        places = sorted(range(k), key=lambda fold: draw(f"{first}/{fold}", seed)) if len(dealt) < k else range(k)
        for fold, patient in zip(places, dealt, strict=False):
            tests[fold].append(patient)
    return tuple(_against_rest(ordered, test) for test in tests)


def by_ratio(patients: Sequence[str], ratio: tuple[float, float, float] = RATIO, *, seed: int = SHUFFLE_SEED) -> Split:
    """One random split into training, validation and test patients; validation may be empty, the others never."""
    if not (all(share >= 0 for share in ratio) and abs(sum(ratio) - 1) <= 1e-6):
        raise DataError(f"a split of {':'.join(map(str, ratio))}; expected three shares that add up to 1")
    shuffled = sorted(set(patients), key=lambda patient: draw(patient, seed))
    test = max(1, round(ratio[2] * len(shuffled)))
    validation = round(ratio[1] * len(shuffled))
    return Split(
        train=tuple(shuffled[test + validation :]),
        test=tuple(shuffled[:test]),
        validation=tuple(shuffled[test : test + validation]),
    )


def fixed(parts: Iterable[tuple[str, str]], held_out: str | None = None) -> Split:
    """The data set's own split, from each case's patient and part ("train" or "val"): "val" is tested.

    The paper holds one training city out for validation: `held_out`, or the patient that is drawn first.
    Raises `DataError` if a patient has no part or both, or if `held_out` is no training patient.
    """
    cases = set(parts)
    lacking = sorted(patient for patient, part in cases if part not in ("train", "val"))
    if lacking:
        raise DataError(f"patient {lacking[0]!r} is on no side; expected a data set that says who is trained on")
    train = {patient for patient, part in cases if part == "train"}
    if held_out is None:
        held_out = min(train, key=lambda patient: draw(patient, SHUFFLE_SEED), default="")
    if held_out not in train:
        raise DataError(f"{held_out!r} is no training patient; there are: {', '.join(sorted(train))}")
    return Split(
        train=tuple(train - {held_out}),
        test=tuple(patient for patient, part in cases if part == "val"),
        validation=(held_out,),
    )


def from_nnunet(text: str, patients: Mapping[str, str]) -> tuple[Split, ...]:
    """nnU-Net's `splits_final.json`: a list of {"train": cases, "val": cases}; "val" is tested.

    `patients` holds each case's patient. Raises `DataError` for a case that is not known, and for a patient whose
    cases are on both sides: nnU-Net splits cases, not patients.
    """
    try:
        entries = [(list(entry["train"]), list(entry["val"])) for entry in json.loads(text)]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"not nnU-Net's splits_final.json ({error!r}); expected a list of train and val cases"
        ) from error
    if not entries:
        raise DataError("no split; expected a list of train and val cases")
    unknown = sorted({case for sides in entries for side in sides for case in side if case not in patients}, key=str)
    if unknown:
        known = next(iter(patients), "none")
        raise DataError(f"no case {unknown[0]!r} ({len(unknown)} are unknown); the store's first is {known!r}")
    return tuple(
        Split(
            train=tuple({patients[case] for case in train}),
            test=tuple({patients[case] for case in test}),
        )
        for train, test in entries
    )


def inner(split: Split, share: float = 0.2, *, seed: int = SHUFFLE_SEED) -> Split:
    """A split of the training side alone, to select models by: its test side is for validation.

    Patients that the outer split tests are on neither side. One that names its validation patients keeps to them.
    """
    if split.validation:
        return Split(train=split.train, test=split.validation)
    if not 0 < share < 1:
        raise DataError(f"an inner validation share of {share}; expected one between 0 and 1")
    held_out = max(1, round(share * len(split.train)))
    if held_out >= len(split.train):
        raise DataError(
            f"an inner validation share of {share:g} takes {held_out} of {len(split.train)} training patients; "
            "expected some left to train on"
        )
    drawn = sorted(split.train, key=lambda patient: draw(patient, seed))
    return _against_rest(drawn, drawn[:held_out])


def _against_rest(patients: Sequence[str], test: Sequence[str]) -> Split:
    return Split(train=tuple(set(patients) - set(test)), test=tuple(test))
