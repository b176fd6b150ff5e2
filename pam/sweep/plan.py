"""From a study to the cells to train: settings applied, everything checked, bound to data and splits."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, replace
from typing import Any

from pam import networks
from pam.cells import code_of
from pam.data import augment, split_choice
from pam.data.folds import Split
from pam.data.splits import inner
from pam.data.store import Store
from pam.datasets import DATASETS
from pam.errors import DataError, StudyError
from pam.losses import LOSSES
from pam.networks import NETWORKS
from pam.registry import REQUIRED
from pam.study import RECIPE_FIELDS, Cell, Recipe, Study, Variant

RECIPE_DEFAULTS = asdict(Recipe())
_BUILDABLE: set[tuple[str, str, tuple[int, int, int]]] = set()  # what this process has tried: name, options, c h w
assert all(field.default is not MISSING for field in RECIPE_FIELDS.values()), "every recipe field needs a default"


def apply_settings(study: Study, settings: Mapping[str, Any]) -> Study:
    """The study with its split, recipe fields and network options set for every row; rows keep their names.

    Raises `StudyError` for a key that is none of these or no option of every row's network, for a value of
    another type than the default's, and for a factor of the study.
    """
    for key, value in settings.items():
        varying = [row.name for row in study.rows if key in row.options or key in row.recipe]
        if varying:
            raise StudyError(f"--set {key}: study {study.name!r} varies it itself (row {varying[0]!r}); leave it out")
        if key == "split":
            _check_type("study field 'split'", value, study.split)
            study = replace(study, split=value)
        elif key in RECIPE_FIELDS:
            _check_type(f"recipe field {key!r}", value, RECIPE_DEFAULTS[key])
            study = replace(study, recipe={**study.recipe, key: value})
        else:
            study = replace(
                study,
                reference=_with_option(study.reference, key, value),
                variants=tuple(_with_option(row, key, value) for row in study.variants),
            )
    return study


def splits_of(study: Study, store: Store) -> tuple[Split, ...]:
    """The store's splits as the study chooses them, else as its data set does."""
    return split_choice.splits_of(store, split_of(study, store), study.folds)


def split_of(study: Study, store: Store) -> str:
    """The choice of split, in the words of `pam.data.split_choice`."""
    return study.split or DATASETS.build(store.dataset).split


def plan(
    study: Study,
    store: Store,
    *,
    folds: Iterable[int] | None = None,
    seeds: Iterable[int] | None = None,
    only: Iterable[str] | None = None,
) -> list[tuple[Cell, Split]]:
    """The study's cells, bound to the store and its splits, each with its split.

    Raises `StudyError` for a network, option or recipe that does not exist or cannot be built.
    """
    splits = splits_of(study, store)
    declared = replace(study, folds=len(splits)).cells(folds, seeds, only)
    bound = [bind(cell, store, splits[cell.fold]) for cell in declared]
    check_buildable(bound, store)
    _check_validation(bound, splits, store)
    return [(cell, splits[cell.fold]) for cell in bound]


def bind(cell: Cell, store: Store, split: Split) -> Cell:
    """The cell with the data set's recipe below its own, on the store's data and this split: one that has an id."""
    resolved = Recipe(**{**asdict(DATASETS.build(store.dataset).recipe), **cell.recipe})
    return replace(
        cell,
        options=_deviations(cell.options, NETWORKS.options(cell.network)),
        recipe=_deviations({**vars(resolved), "augment": augment.canonical(resolved.augment)}, RECIPE_DEFAULTS),
        code=code_of(cell.network, resolved),
        data_hash=store.hash,
        split_hash=split.hash,
    )


def check(study: Study) -> None:
    """Raise `StudyError` for a network, option, loss or augmentation of the study that does not exist."""
    for row in study.rows:
        NETWORKS.check_options(row.network, row.options)
        recipe = {**study.recipe, **row.recipe}
        unknown = [key for key in recipe if key not in RECIPE_FIELDS]
        if unknown:
            raise StudyError(
                f"study {study.name!r}: no recipe field {unknown[0]!r}; there are: {', '.join(RECIPE_FIELDS)}"
            )
        resolved = Recipe(**recipe)
        LOSSES.get(resolved.loss)
        augment.build(resolved.augment)
    if study.split:
        split_choice.parse(study.split)


def check_buildable(cells: list[Cell], store: Store) -> None:
    """Try each distinct network on an image of the store, so that an impossible one shows before any cell starts."""
    image = (len(store.modalities), *store.images.shape[-2:])
    distinct = {}
    for cell in cells:
        try:
            distinct[cell.network, json.dumps(cell.options)] = cell
        except TypeError as error:
            raise StudyError(
                f"row {cell.label!r}: an option of {dict(cell.options)} cannot be part of a cell's id ({error}); "
                "expected numbers, texts, booleans and lists"
            ) from error
    for (network, options), cell in distinct.items():
        if (network, options, image) not in _BUILDABLE:
            networks.check(network, image, **cell.options)
            _BUILDABLE.add((network, options, image))


def _check_validation(cells: Iterable[Cell], splits: Sequence[Split], store: Store) -> None:
    """Raise `DataError` unless each training side can spare its validation patients and these hold a target."""
    shares = {recipe.validation for cell in cells if (recipe := Recipe(**cell.recipe)).validate_every}
    if not shares:
        return
    with_target = set(store.columns["patient"][store.columns["target_pixels"] > 0].tolist())
    for share, split in itertools.product(sorted(shares), splits):
        held_out = inner(split, share).test
        if not with_target & set(held_out):
            raise DataError(
                f"none of the {len(held_out)} validation patients has a target, so that their Dice is undefined; "
                f"expected one at least: raise the recipe's validation, now {share:g}"
            )


def _with_option(row: Variant, key: str, value: object) -> Variant:
    NETWORKS.check_options(row.network, {key: value})
    _check_type(f"option {key!r} of network {row.network!r}", value, NETWORKS.options(row.network)[key])
    return replace(row, label=row.name, options={**row.options, key: value})


def _check_type(what: str, value: object, default: object) -> None:
    if default is None or default is REQUIRED:  # of an outside part: neither tells a type
        return
    expected: tuple[type, ...] = (int, float) if isinstance(default, float) else (type(default),)
    if not isinstance(value, expected) or (isinstance(value, bool) and not isinstance(default, bool)):
        raise StudyError(f"{what} is {value!r}; expected a value like {default!r} ({type(default).__name__})")


def _deviations(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What differs from the defaults, sorted by name: a default written out gives the same cell as one left out."""
    return {key: values[key] for key in sorted(values) if values[key] != defaults[key]}
