"""The paper's numbers beside ours, and how what we did differs from what was published. Tables: `paper_tables`."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Any

from pam.counts import counted
from pam.data.split_choice import CHOICES
from pam.errors import StudyError
from pam.report.results import Results
from pam.report.sheet import Column, Value
from pam.study import Recipe

SOURCE = "Published: Xu, Oxtoby, Alexander and Jacob, Learning To Pay Attention To Mistakes, BMVC 2020"
SPREAD = (
    "Protocol: the published ± spans 5 folds and at least 3 repeats by the paper's text, but slices and the last ten "
    "checkpoints in its authors' code; here it spans fold × seed cells."
)
LEFT_OUT = (
    "Protocol: the authors' code leaves out slices in which either mask has at most one pixel, and scores under an "
    "attack (FGSM); here only slices with an empty mask are left out, and nothing is attacked."
)
MEANING = (
    "Protocol: the published IoU can only be the mean over both classes, as here; the published HD pools both "
    "directions, as here; FP is published as a bound."
)
PATIENTS = {"brats2018": 210}  # the high-grade cases of the training set
SPLITS = {"brats2018": "folds", "isles2018": "ratio", "cityscapes": "fixed"}  # see `pam.data.split_choice`
TRAINING = {"brats2018": "BRATS", "isles2018": "ISLES", "cityscapes": "CityScapes"}
FIELDS = {  # column → its mean and deviation in the published tables, and the heading
    "iou": ("iou_mean", "iou_std", "IoU (%), published"),
    "hd95": ("hd_mean", "hd_std", "HD95 (px), published"),
    "fp_rate": ("fp_bound", "", "FP/N, published"),
    "fn_rate": ("fn_mean", "fn_std", "FN/P (%), published"),
    "parameters": ("params_m", "", "Parameters (M), published"),
}


@dataclass(frozen=True, kw_only=True)
class Published:
    """The published row of each of a study's rows that has one, and the deviations from how it came about."""

    rows: Mapping[str, Mapping[str, str]]
    notes: tuple[str, ...]

    def column(self, name: str, labels: Sequence[str]) -> Column | None:
        """The published numbers for a column of a table; None if there are none."""
        if name not in FIELDS:
            return None
        mean, deviation, heading = FIELDS[name]
        values, fields = {}, {}
        for label in labels:
            found = self.rows.get(label, {})
            text = found.get(mean) or "–"
            spread = f" ± {found[deviation]}" if found.get(deviation) else ""
            values[label] = Value(text=text + spread, number=_float(text))
            fields[label] = {f"published_{field}": found.get(field, "") for field in (mean, deviation) if field}
        return Column(heading=heading, values=values, fields=fields) if any(map(_told, values.values())) else None


def beside(results: Results) -> Published:
    """What was published of a study's rows. Raises `StudyError` for a table or a row that there is not."""
    chosen = results.study.published
    rows = {label: _row(results.study.name, reference) for label, reference in chosen.items()}
    if not rows:
        return Published(rows={}, notes=())
    names = sorted({reference.partition("/")[0] for reference in chosen.values()})
    datasets = sorted({name.partition("_")[0] for name in names})
    tables = " and ".join(name.rpartition("table")[2] for name in names)
    notes = [f"{SOURCE}, Table{'s' * (len(names) > 1)} {tables}. What differs from it:"]
    for dataset in datasets:
        notes += [*_data(results, dataset), *_recipe(results, dataset), *_split(results, dataset)]
    notes += [SPREAD, LEFT_OUT, MEANING, *_folds(results), *_sizes(results, rows)]
    return Published(rows=rows, notes=tuple(notes))


def read(name: str) -> list[dict[str, str]]:
    """A published table's rows. Raises `StudyError` if there is no such table."""
    folder = resources.files("pam.report") / "paper_tables"
    path = folder / f"{name}.csv"
    if not path.is_file():
        there = sorted(file.name.removesuffix(".csv") for file in folder.iterdir() if file.name.endswith(".csv"))
        raise StudyError(f"no published table {name!r}; there are: {', '.join(there)}")
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def _row(study: str, reference: str) -> dict[str, str]:
    name, _, row = reference.partition("/")
    rows = {found["network"]: found for found in read(name) if "network" in found}
    if row not in rows:
        raise StudyError(
            f"study {study!r}: no published row {reference!r}; table {name!r} has: {', '.join(rows) or 'none'}"
        )
    return rows[row]


def _data(results: Results, dataset: str) -> list[str]:
    table = results.table
    told = results.cells.patients.dropna()
    patients = int(told.max()) if len(told) else None
    ours = f"{table.title} ({table.dataset}{', ' + counted(patients, 'patient') if patients else ''})"
    if table.dataset != dataset:
        return [f"Data: {ours} instead of {dataset}: the published numbers are of other images."]
    expected = PATIENTS.get(dataset)
    if expected and patients and patients != expected:
        return [f"Data: {ours} instead of {expected} patients."]
    return []


def _recipe(results: Results, dataset: str) -> list[str]:
    """Settings of training that differ from the paper's Table 2."""
    paper = next((row for row in read("training_table2") if row["dataset"] == TRAINING.get(dataset)), None)
    if paper is None:
        return []
    defaults: dict[str, Any] = asdict(Recipe())
    found = []
    for key in ("epochs", "batch_size", "learning_rate"):
        used = sorted({(defaults | cell.get("recipe", {}))[key] for cell in results.manifest["cells"]})
        if used != [float(paper[key])]:
            found.append(f"{key} {' and '.join(f'{value:g}' for value in used)} instead of {paper[key]}")
    return [f"Recipe: {'; '.join(found)}."] if found else []


def _split(results: Results, dataset: str) -> list[str]:
    used, published = results.manifest.get("split", {}).get("kind", "folds"), SPLITS.get(dataset)
    return [f"Split: {CHOICES[used]} instead of {CHOICES[published]}."] if published and used != published else []


def _folds(results: Results) -> list[str]:
    asked = results.manifest["cells"]
    folds, seeds = (len({cell[kind] for cell in asked}) for kind in ("fold", "seed"))
    if folds >= 5 and seeds >= 3:
        return []
    return [f"Protocol: {counted(folds, 'fold')} and {counted(seeds, 'seed')} instead of 5 and at least 3."]


def _sizes(results: Results, rows: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Rows whose number of parameters does not round to the published one."""
    found = []
    for row in results.table.rows:
        published = rows.get(row.label, {}).get("params_m")
        if published and row.parameters:
            places = len(published.partition(".")[2])
            if round(max(row.parameters) / 1e6, places) != float(published):
                found.append(f"{row.label} {max(row.parameters) / 1e6:.2f} M instead of {published} M")
    return [f"Network: {'; '.join(found)}."] if found else []


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:  # a bound, or nothing
        return math.nan


def _told(value: Value) -> bool:
    return value.text != "–"
