"""A study is data: a question, a data set, a reference row, the rows to compare, folds, seeds and a recipe."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import itertools
import json
import pkgutil
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from pam.errors import StudyError
from pam.measures import column_names
from pam.statements import AnyClaim, Claim, Equivalence, Levels, Trend, check_claim

__all__ = [
    "AnyClaim",
    "Cell",
    "Claim",
    "Equivalence",
    "Panel",
    "Recipe",
    "Study",
    "Trend",
    "Variant",
    "by_level",
    "grid",
    "load",
    "names",
]

# Part of every cell id. Raise it, with a CHANGELOG entry, by any change of code that alters results.
RESULTS_VERSION = 2

# What a slip in a study file raises; any other exception keeps its traceback.
SLIPS = (ImportError, NameError, AttributeError, TypeError, ValueError, LookupError)


Augmentation = str | tuple[str, Mapping[str, float]]  # its name, or its name and options

CHOICES = {
    "schedule": ("constant", "multistep"),
    "slices": ("paper", "all"),
    "test_slices": ("all", "paper"),
    "select": ("last", "best"),
    "precision": ("bfloat16", "float32"),
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained. Data sets hold their own; defaults are the paper's BRATS recipe (Table 2)."""

    epochs: int = 80
    batch_size: int = 50
    learning_rate: float = 1e-4
    weight_decay: float = 0.01  # AdamW's own default: the paper names AdamW and no value
    schedule: str = "constant"  # or "multistep": × 0.1 at 1/2 and 3/4, as in the authors' code
    loss: str = "dice"
    augment: tuple[Augmentation, ...] = ("horizontal_flip",)  # in this order; see `pam.data.augment`
    slices: str = "paper"  # training slices, see `pam.data.batches.choose_slices`
    test_slices: str = "all"  # slices of test cases whose scores are kept; a case's own scores are of all its slices
    validate_every: int = 0  # passes between two scorings of validation patients; 0: never, and none is held out
    validation: float = 0.2  # share of the training patients to validate on, where the split itself names none
    select: str = "last"  # the weights that are tested: of the last pass, or of the best validated one
    precision: str = "bfloat16"  # autocast type, or "float32" for none

    def __post_init__(self) -> None:
        entries: object = self.augment
        if not isinstance(entries, (tuple, list)):
            raise StudyError(f"recipe field 'augment' is {entries!r}; expected names, such as ('horizontal_flip',)")
        augment = tuple(tuple(entry) if isinstance(entry, list) else entry for entry in entries)
        object.__setattr__(self, "augment", augment)  # JSON has lists only
        for name in ("epochs", "batch_size", "learning_rate"):
            if not getattr(self, name) > 0:
                raise StudyError(f"recipe field {name!r} is {getattr(self, name)}; expected a number above 0")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                expected = " or ".join(map(repr, choices))
                raise StudyError(f"recipe field {name!r} is {getattr(self, name)!r}; expected {expected}")
        if self.validate_every < 0:
            raise StudyError(f"recipe field 'validate_every' is {self.validate_every}; expected 0 or more passes")
        if not 0 < self.validation < 1:
            raise StudyError(f"recipe field 'validation' is {self.validation}; expected a share between 0 and 1")
        if self.select == "best" and not self.validate_every:
            raise StudyError("recipe field 'select' is 'best' without validation; expected validate_every of 1 or more")


AUTO = "auto"
RECIPE_FIELDS = {field.name: field for field in fields(Recipe)}


@dataclass(frozen=True)
class Variant:
    """One row of a table: a network with its options, and what its recipe changes."""

    network: str
    options: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""

    @property
    def name(self) -> str:
        """The row's heading: its label, else network and settings."""
        settings = {**self.options, **self.recipe}
        return self.label or " ".join([self.network, *(f"{key}={value}" for key, value in settings.items())])

    def with_settings(self, **settings: Any) -> Variant:
        """The variant with recipe fields and network options set; a key that names a recipe field is one."""
        recipe = {key: value for key, value in settings.items() if key in RECIPE_FIELDS}
        options = {key: value for key, value in settings.items() if key not in RECIPE_FIELDS}
        return replace(self, options={**self.options, **options}, recipe={**self.recipe, **recipe})


def grid(variant: Variant, **factors: Sequence[Any]) -> tuple[Variant, ...]:
    """Every combination of the factors' values, the last factor varying fastest."""
    combinations = itertools.product(*factors.values())
    return tuple(variant.with_settings(**dict(zip(factors, values, strict=True))) for values in combinations)


def by_level(variants: Iterable[Variant], factor: str) -> Levels:
    """Names of the variants, grouped by their value of a factor, in the order in which its values first appear.

    Raises `StudyError` for a variant that does not set the factor.
    """
    levels: dict[Any, list[str]] = {}
    for variant in variants:
        settings = {**variant.options, **variant.recipe}
        if factor not in settings:
            raise StudyError(f"row {variant.name!r} does not set {factor!r}; expected one of: {', '.join(settings)}")
        levels.setdefault(settings[factor], []).append(variant.name)
    return tuple(map(tuple, levels.values()))


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel of a figure: a score over one factor, one line per value of another, for the rows that fit `where`."""

    name: str
    network: str
    over: str
    lines: str
    where: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One training: a variant, a fold and a seed; bound to prepared data and a split, it has an id.

    Once the cell is bound (`pam.sweep.plan`), `options` and `recipe` hold only what differs from the defaults, `code`
    the source hash of each part that comes from outside this project: a network, a loss or an augmentation by
    `module:function` or by an entry point.
    """

    label: str
    network: str
    options: Mapping[str, Any]
    recipe: Mapping[str, Any]
    fold: int
    seed: int
    data_hash: str = ""
    split_hash: str = ""
    code: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Hash of everything that determines the result: never of labels, paths, machines or the fold's number."""
        assert self.split_hash, "only a cell bound to a split has an id"
        return _digest({**self._variant, "seed": self.seed, "split": self.split_hash})

    @property
    def variant_id(self) -> str:
        """Hash of what this cell shares with the other folds and seeds of its variant."""
        return _digest(self._variant)

    @property
    def _variant(self) -> dict[str, Any]:
        assert self.data_hash, "only a cell bound to prepared data has an id"
        return {
            "version": RESULTS_VERSION,
            "network": self.network,
            "options": dict(self.options),
            "recipe": dict(self.recipe),
            "data": self.data_hash,
            **({"code": dict(self.code)} if self.code else {}),
        }


def _digest(determinants: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(determinants, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Range:
    """Values from `low` to `high`, both included; whole numbers if both are. log: as likely in every decade."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.log and not self.low > 0):
            raise StudyError(
                f"range from {self.low} to {self.high}: expected two numbers that rise, above 0 for a logarithmic one"
            )


@dataclass(frozen=True, kw_only=True)
class Search:
    """What to vary to find good settings of each row: recipe fields and network options, by range or by choice.

    Settings are chosen on a validation split inside the training side of `fold`; see `pam.search`.
    """

    space: Mapping[str, Range | Sequence[Any]]
    trials: int = 20  # of each row
    scheduler: str = "asha"  # or "hyperband": which trials stop early, compared at equal epochs
    fold: int = 0
    winners: int = 1  # of each row
    seed: int = 0

    def __post_init__(self) -> None:
        if self.scheduler not in ("asha", "hyperband"):
            raise StudyError(f"search: scheduler {self.scheduler!r}; expected 'asha' or 'hyperband'")
        if not 1 <= self.winners <= self.trials:
            raise StudyError(f"search: {self.winners} winners of {self.trials} trials; expected 1 ≤ winners ≤ trials")
        if "epochs" in self.space:
            raise StudyError("search: the space varies 'epochs'; trials are compared at equal epochs, leave it out")
        empty = [name for name, values in self.space.items() if not isinstance(values, Range) and not len(values)]
        if not self.space or empty:
            raise StudyError(f"search: no values for {empty or 'anything'}; expected a Range or a list of values")


@dataclass(frozen=True, kw_only=True)
class Study:
    """A question and what it takes to answer it. `name` is the study file's.

    columns: the tables' columns in the order to show, see `pam.measures.column_names`; empty: all. caption: what the
    tables' captions begin with on that data set. published: row → the published row to hold it against, "TABLE/NAME"
    such as "brats2018_table5/FPA", see `pam.report.published`.
    split: how patients are split, in the words of `pam.data.split_choice`; "": the data set's own way. `folds` counts
    where the split is into folds; the others say themselves how many splits they are.
    """

    question: str
    dataset: str
    reference: Variant
    variants: tuple[Variant, ...]
    split: str = ""
    folds: int = 5
    seeds: int = 3
    recipe: Mapping[str, Any] = field(default_factory=dict)
    panels: tuple[Panel, ...] = ()
    claims: tuple[AnyClaim, ...] = ()
    columns: tuple[str, ...] = ()
    caption: str = ""
    published: Mapping[str, str] = field(default_factory=dict)
    cells_per_gpu: int | str | None = None  # how many share a GPU, or "auto": measured; None: one has it alone
    disk_budget: float | None = None  # GB that its cells may take; see `pam.sweep.disk.Budget`
    max_failures: int | None = None  # cells that may fail or diverge before a sweep stops; see `failures_allowed`
    search: Search | None = None  # in place of a grid: `pam.search` finds the rows and writes them as another study
    tested: tuple[int, ...] | None = None  # folds to run, where the patients that the others test were searched on
    name: str = ""

    def __post_init__(self) -> None:
        study = f"study {self.name!r}" if self.name else "the study"  # a file's study gets its name when it is loaded
        names = [variant.name for variant in self.rows]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise StudyError(f"{study}: rows {repeated} appear twice; give them labels that differ")
        ids = [claim.id for claim in self.claims]
        for claim in self.claims:
            check_claim(claim, names, study)
            if ids.count(claim.id) > 1:
                raise StudyError(f"{study}: claim {claim.id!r} appears twice; give each an id of its own")
        unknown = [name for name in self.columns if name not in column_names()]
        if unknown:
            raise StudyError(f"{study}: no column {unknown[0]!r}; there are: {', '.join(column_names())}")
        unknown = [row for row in self.published if row not in names]
        if unknown:
            raise StudyError(f"{study}: published row {unknown[0]!r} is none of its rows: {'; '.join(names)}")
        if self.folds < 1 or self.seeds < 1:
            raise StudyError(f"{study}: {self.folds} folds and {self.seeds} seeds; needs 1 of each at least")
        if self.max_failures is not None and self.max_failures < 0:
            raise StudyError(f"{study}: max_failures is {self.max_failures}; expected a whole number from 0")

    @property
    def rows(self) -> tuple[Variant, ...]:
        """The reference first, then the variants."""
        return (self.reference, *self.variants)

    def failures_allowed(self, cells: int) -> int:
        """How many of so many cells may fail or diverge: `max_failures`, else a tenth of them, but no fewer than five.

        A row that diverges in every fold and seed is a finding; a tenth of the cells or more is a mistake.
        """
        return max(5, cells // 10) if self.max_failures is None else self.max_failures

    def cells(
        self,
        folds: Iterable[int] | None = None,
        seeds: Iterable[int] | None = None,
        only: Iterable[str] | None = None,
    ) -> list[Cell]:
        """Every variant × fold × seed, fold and seed outermost so that early results cover every row.

        `only` chooses rows: those whose name holds all words of one of its texts ("fpa dilation=9").
        """
        rows = self.rows if only is None else self._named(only)
        if folds is None:
            folds = range(self.folds) if self.tested is None else self.tested
        folds = _within(folds, self.folds, "fold", self.name)
        seeds = range(self.seeds) if seeds is None else _within(seeds, self.seeds, "seed", self.name)
        return [
            Cell(
                label=row.name,
                network=row.network,
                options=row.options,
                recipe={**self.recipe, **row.recipe},
                fold=fold,
                seed=seed,
            )
            for seed in seeds
            for fold in folds
            for row in rows
        ]

    def _named(self, only: Iterable[str]) -> list[Variant]:
        chosen: dict[str, Variant] = {}
        for text in only:
            words = set(text.split())
            found = {row.name: row for row in self.rows if words <= set(row.name.split())}
            if not found:
                listed = "; ".join(row.name for row in self.rows)
                raise StudyError(f"study {self.name!r} has no row {text!r}; it has: {listed}")
            chosen |= found
        return [row for row in self.rows if row.name in chosen]


def _within(chosen: Iterable[int], count: int, kind: str, study: str) -> list[int]:
    chosen = sorted(set(chosen))
    unknown = [number for number in chosen if not 0 <= number < count]
    if unknown:
        raise StudyError(f"study {study!r} has no {kind} {unknown[0]}; it has: {', '.join(map(str, range(count)))}")
    return chosen


def names() -> tuple[str, ...]:
    """Studies that `load` finds by name: those of ./tune_spaces first, then the installed ones."""
    local = sorted(path.stem for path in Path("tune_spaces").glob("*.py") if path.stem != "__init__")
    package = importlib.import_module("tune_spaces")
    installed = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    return tuple(dict.fromkeys([*local, *installed]))


def _seen_from(path: Path) -> str:
    """From where a relative path was looked for: a job runs in another folder than the shell that submitted it."""
    return "" if path.is_absolute() else f" in {Path.cwd()} (a job takes the whole path)"


def load(name_or_path: str) -> Study:
    """A study by path, by its name in ./tune_spaces, or by its name in the installed `tune_spaces` package.

    Raises `StudyError` if there is none, or if the file defines no `STUDY`. Study files are code and are run.
    """
    path = Path(name_or_path)
    if path.suffix == ".py":
        if not path.is_file():
            expected = f"expected a study's file, or one of: {', '.join(names())}"
            raise StudyError(f"{path}: no such file{_seen_from(path)}; {expected}")
        return _study_of(_run_file(path), path.stem, str(path))
    local = Path("tune_spaces") / f"{name_or_path}.py"
    if local.is_file():
        return _study_of(_run_file(local), name_or_path, str(local))
    if name_or_path not in names():
        raise StudyError(f"unknown study {name_or_path!r}; there are: {', '.join(names())} (or give a file's path)")
    module = importlib.import_module(f"tune_spaces.{name_or_path}")
    return _study_of(module, name_or_path, module.__name__)


def _run_file(path: Path) -> ModuleType:
    """The file as a module. Raises `StudyError` that names the line for what a slip of the pen leads to."""
    spec = importlib.util.spec_from_file_location(f"pam_study_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise StudyError(f"{error.filename}:{error.lineno}: {error.msg}; a study is a Python file, mend it") from error
    except SLIPS as error:
        what = str(error) if isinstance(error, StudyError) else f"{type(error).__name__}: {error}; mend the study"
        raise StudyError(f"{path}:{_line_in(path, error)}: {what}") from error
    return module


def _line_in(path: Path, error: BaseException) -> int:
    """The line of the file that the error came through last."""
    frames = traceback.extract_tb(error.__traceback__)
    return [frame.lineno or 0 for frame in frames if Path(frame.filename).resolve() == path.resolve()][-1]


def _study_of(module: ModuleType, name: str, where: str) -> Study:
    study = getattr(module, "STUDY", None)
    if not isinstance(study, Study):
        raise StudyError(f"{where}: found no STUDY; expected STUDY = Study(question=…, …) at the file's top level")
    return replace(study, name=name)
