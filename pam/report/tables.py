"""From a study's manifest and the ledger to its table: one row per variant, mean ± SD over fold × seed cells."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pam import failures, ledger
from pam.counts import counted
from pam.data.split_choice import IN_FOLDS
from pam.errors import ResultsError
from pam.measures import MEASURES as BY_PROTOCOL
from pam.metrics import STATES
from pam.protocols import PAPER_COLUMNS, deviation, mean, paper
from pam.study import Study

PROTOCOL = "paper"
MEASURES = BY_PROTOCOL[PROTOCOL]
GAP = "†"  # marks a row with missing cells


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A score over a row's cells: NaN mean if n is 0, NaN sd if n is 1. n: the cells in which it is defined."""

    mean: float
    sd: float
    n: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """A variant. Counts are sums over its finished cells; `cells` are their ids, `missing` its other (fold, seed)."""

    label: str
    scores: Mapping[str, Summary]  # by `Measure.key`
    parameters: tuple[int, ...]  # of the network; more than one number only if the cells disagree
    gflop: float  # of a forward pass on one slice; NaN if the cells do not tell
    slices: Mapping[str, int]  # by state
    train_seconds: Summary
    peak_memory_mb: float  # the largest of its cells: of the GPU where there was one, else of the process
    cells: tuple[str, ...]
    missing: tuple[tuple[int, int], ...]
    without_result: Mapping[tuple[int, int], str]  # those of the missing that failed or diverged, and which of the two

    @property
    def expected(self) -> int:
        return len(self.cells) + len(self.missing)


@dataclass(frozen=True, kw_only=True)
class Table:
    """A study's results on one data set, and all that a reader must know about them."""

    study: str
    question: str
    dataset: str
    title: str
    phantom: bool
    deviations: tuple[str, ...]  # from the study as declared
    data_hash: str
    split: str  # how the patients were split, and the splits' content hash
    test_slices: tuple[str, ...]  # the choices of scored slices, see `pam.study.Recipe`
    rows: tuple[Row, ...]  # the reference first
    commits: Mapping[str, int]  # git commit → number of cells
    devices: Mapping[str, int]
    remarks: tuple[str, ...] = ()  # on the data, a sentence each

    @property
    def heading(self) -> str:
        return f"{self.study} on {self.title}" + (" (PHANTOM)" if self.phantom else "")


def collect(manifest: Mapping[str, Any]) -> pd.DataFrame:
    """One row per cell that the manifest asks for: label, fold, seed, id, finished; scores and provenance if finished.

    Raises `ResultsError` if no cell is finished or an entry is damaged.
    """
    cells = pd.DataFrame(manifest["cells"])[["label", "fold", "seed", "id"]]
    finished = sorted({cell_id for cell_id in cells.id if ledger.has(cell_id)})
    if not finished:
        study, dataset = manifest["study"], manifest["dataset"]
        raise ResultsError(
            f"study {study!r} has no finished cell of {len(cells)} on {dataset!r}; run: {sweep_command(manifest)}"
        )
    provenance = pd.DataFrame([_told(ledger.read_provenance(cell_id)) for cell_id in finished], index=finished)
    scores = paper(ledger.read_many(finished, "slices", PAPER_COLUMNS))
    scores.index = scores.index.astype(str)
    found = scores.join(provenance)
    return cells.assign(finished=cells.id.isin(found.index)).join(found, on="id")


def deviations_of(table: Table) -> str:
    return f"Deviations from the study as declared: {'; '.join(table.deviations) or 'none'}."


def gaps(table: Table) -> list[str]:
    """The missing cells of each row; the rows with none are left out."""
    found = []
    for row in table.rows:
        if row.missing:
            where = ", ".join(
                f"{fold}/{seed} {row.without_result.get((fold, seed), '')}".rstrip() for fold, seed in row.missing
            )
            found.append(
                f"{GAP} {row.label}: {len(row.missing)} of {counted(row.expected, 'cell')} missing (fold/seed {where})."
            )
    return found


def origin(table: Table) -> list[str]:
    """Data, commits and devices; a mixture is named as one."""
    return [
        f"Data: {table.dataset}, content hash {table.data_hash}.",
        *(f"{remark}." for remark in table.remarks),
        f"Split: {table.split}.",
        *_scored_slices(table),
        _origin("git commit", table.commits),
        _origin("device", table.devices),
    ]


def _scored_slices(table: Table) -> list[str]:
    if table.test_slices == ("all",):
        return []
    return [f"Slices scored one by one: {' and '.join(table.test_slices)}; those of a patient, always all."]


def _origin(kind: str, counts: Mapping[str, int]) -> str:
    if len(counts) == 1:
        return f"All cells come from one {kind}: {next(iter(counts))}."
    found = ", ".join(f"{name} ({counted(count, 'cell')})" for name, count in counts.items())
    return f"MIXED: the cells come from {len(counts)} {kind}s: {found}."


def sweep_command(manifest: Mapping[str, Any]) -> str:
    """The command that trains what is missing."""
    settings = "".join(f" --set {shlex.quote(f'{key}={value}')}" for key, value in manifest["settings"].items())
    chosen = " --demo" if manifest["demo"] else f" --dataset {manifest['dataset']}{settings}"
    for kind in ("fold", "seed"):
        run = _asked(manifest, kind)
        chosen += f" --{kind}s {','.join(map(str, run))}" if len(run) < manifest[f"{kind}s"] else ""
    return f"python -m pam.sweep {manifest['study']}{chosen}"


def build(manifest: Mapping[str, Any], study: Study, cells: pd.DataFrame) -> Table:
    """The table of the cells that `collect` found, its rows in the study's order."""
    asked = list(dict.fromkeys(cells.label))
    declared = [row.name for row in study.rows]
    labels = [name for name in declared if name in asked] + sorted(set(asked) - set(declared))
    finished = cells[cells.finished].drop_duplicates("id")
    return Table(
        study=manifest["study"],
        question=manifest["question"],
        dataset=manifest["dataset"],
        title=manifest["title"],
        phantom=manifest["phantom"],
        deviations=_deviations(manifest, study, asked),
        data_hash=manifest["data_hash"],
        split=_split(manifest),
        test_slices=tuple(sorted({cell.get("recipe", {}).get("test_slices", "all") for cell in manifest["cells"]})),
        rows=tuple(_row(label, cells[cells.label == label].sort_values(["fold", "seed"])) for label in labels),
        commits=dict(sorted(Counter(finished.git_commit).items())),
        devices=dict(sorted(Counter(finished.device).items())),
        remarks=tuple(manifest.get("remarks", ())),
    )


def _split(manifest: Mapping[str, Any]) -> str:
    split = manifest.get("split")
    return f"{split['words']}, content hash {split['hash']}" if split else "unknown, of an older sweep"


def _told(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """What a table says about a cell's origin; what an entry does not tell is unknown, not an error."""
    return {
        "parameters": provenance.get("parameters"),
        "train_seconds": provenance.get("train_seconds"),
        "peak_memory_mb": provenance.get("peak_gpu_memory_mb") or provenance.get("peak_memory_mb"),
        "gflop": provenance.get("gflop"),
        "patients": provenance.get("data", {}).get("patients"),
        "entry_hash": provenance.get("data", {}).get("hash"),
        "git_commit": provenance.get("git_commit") or "unknown",
        "device": provenance.get("device") or "unknown",
    }


def _row(label: str, cells: pd.DataFrame) -> Row:
    finished = cells[cells.finished]
    missing = cells[~cells.finished]
    return Row(
        label=label,
        scores={measure.key: _summary(finished[measure.key]) for measure in MEASURES},
        parameters=tuple(sorted(int(number) for number in finished.parameters.dropna().unique())),
        slices={state: int(finished[f"slices_{state}"].sum()) for state in STATES},
        gflop=float(pd.to_numeric(finished.gflop).max()),
        train_seconds=_summary(finished.train_seconds),
        peak_memory_mb=float(pd.to_numeric(finished.peak_memory_mb).max()),
        cells=tuple(finished.id),
        missing=tuple(zip(missing.fold.tolist(), missing.seed.tolist(), strict=True)),
        without_result={
            (int(fold), int(seed)): failure.kind
            for fold, seed, cell_id in zip(missing.fold, missing.seed, missing.id, strict=True)
            if (failure := failures.read(cell_id)) is not None
        },
    )


def _summary(values: pd.Series[float]) -> Summary:
    defined = values.dropna()
    return Summary(mean=mean(defined), sd=deviation(defined), n=len(defined))


def _asked(manifest: Mapping[str, Any], kind: str) -> list[int]:
    """The folds or seeds of the cells asked for."""
    return sorted({cell[kind] for cell in manifest["cells"]})


def _deviations(manifest: Mapping[str, Any], study: Study, asked: list[str]) -> tuple[str, ...]:
    """How what was run differs from what the study declares, in words."""
    found = []
    if manifest["demo"]:
        found.append("demo")
    if manifest["dataset"] != study.dataset:
        found.append(f"data set {manifest['dataset']} instead of {study.dataset}")
    settings = dict(manifest["settings"])
    if "split" in settings:
        settings["split"] = manifest["split"]["words"]  # a file's path says nothing to a reader
    found += [f"{key} = {value}" for key, value in settings.items()]
    in_folds = manifest.get("split", {}).get("kind", "folds") in IN_FOLDS
    for kind, declared in (("fold", study.folds), ("seed", study.seeds)):
        planned, run = manifest[f"{kind}s"], _asked(manifest, kind)
        if planned != declared and (kind == "seed" or in_folds):  # other splits say themselves how many they are
            found.append(f"{counted(planned, kind)} instead of {declared}")
        as_declared = kind == "fold" and study.tested is not None and run == sorted(study.tested)
        if len(run) < planned and not as_declared:
            found.append(f"only {kind}{'s' * (len(run) != 1)} {', '.join(map(str, run))} of {planned}")
    rows = sum(row.name in asked for row in study.rows)
    if rows < len(study.rows):
        found.append(f"only {rows} of {counted(len(study.rows), 'row')}")
    return tuple(found)
