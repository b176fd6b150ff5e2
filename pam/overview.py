"""Where studies and cells stand, read from what sweeps leave under PAM_HOME: without Ray, MLflow or torch."""

from __future__ import annotations

import datetime
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import median
from typing import Any

from pam import cell_log, entries, failures, files, home, leases
from pam.errors import ResultsError, StudyError
from pam.failures import Failure

DONE, RUNNING, FAILED, DIVERGED, MISSING = "done", "running", failures.FAILED, failures.DIVERGED, "missing"
STATES = (DONE, RUNNING, FAILED, DIVERGED, MISSING)
SHORTEST_ID = 4  # letters of an id that may stand for it


@dataclass(frozen=True, kw_only=True)
class CellState:
    """One cell of a study's manifest, and what is known of it."""

    cell: Mapping[str, Any]
    state: str  # one of `STATES`
    holder: str = ""  # who trains it
    failure: Failure | None = None

    @property
    def id(self) -> str:
        return str(self.cell["id"])

    @property
    def words(self) -> str:
        return f"{self.cell['label']}, fold {self.cell['fold']}, seed {self.cell['seed']}"

    @cached_property
    def log(self) -> list[dict[str, Any]]:
        return cell_log.read(self.id)

    @property
    def last(self) -> Mapping[str, Any]:
        """The newest epoch's line of the log; {} before the first."""
        return next((line for line in reversed(self.log) if line["event"] == cell_log.EPOCH), {})

    @property
    def left(self) -> float:
        """Share of its epochs that are still to be trained; 1 where nothing is known."""
        return 1 - self.last["epoch"] / self.last["of"] if self.last else 1.0


@dataclass(frozen=True, kw_only=True)
class StudyState:
    """One study on one data set: the cells its sweeps asked for."""

    study: str
    question: str
    dataset: str
    title: str
    phantom: bool
    cells: Sequence[CellState] = field(repr=False)

    @property
    def counts(self) -> dict[str, int]:
        """State → cells, for all states."""
        counted = Counter(cell.state for cell in self.cells)
        return {state: counted[state] for state in STATES}

    @cached_property
    def seconds_left(self) -> float | None:
        """Until running and missing cells are trained by as many as run now; None if none runs or has told its pace."""
        running = [cell for cell in self.cells if cell.state == RUNNING]
        paces = [seconds for cell in self.cells if (seconds := _seconds(cell)) is not None]
        if not running or not paces:
            return None
        missing = sum(cell.state == MISSING for cell in self.cells)
        return median(paces) * (sum(cell.left for cell in running) + missing) / len(running)


def studies(name: str | None = None) -> list[StudyState]:
    """Every study that was swept, or the one named, on each of its data sets, the newest first.

    Raises `StudyError` if there is none of that name, `ResultsError` for a damaged manifest.
    """
    paths = files.found(home.studies(), f"{name or '*'}/*.json")
    if name and not paths:
        swept = sorted({path.parent.name for path in files.found(home.studies(), "*/*.json")})
        there = f"swept: {', '.join(swept) or '–'}"
        raise StudyError(f"{name!r} is no study that was swept and no cell's id under {home.address()}; {there}")
    known = _Known()
    found = sorted(map(_manifest, paths), key=lambda manifest: str(manifest["written"]), reverse=True)
    return [_study(manifest, known) for manifest in found]


def cell(text: str) -> CellState | None:
    """The cell whose id is, or begins with, the text; None where there is none. `StudyError` if several do."""
    if len(text) < SHORTEST_ID:
        return None
    found = {
        told["id"]: told
        for path in files.found(home.studies(), "*/*.json")
        for told in _manifest(path)["cells"]
        if told["id"].startswith(text)
    }
    if len(found) > 1 and text not in found:
        raise StudyError(f"{text!r} begins the ids of {len(found)} cells; give more of it")
    told = found.get(text) or next(iter(found.values()), None)
    return None if told is None else _cell(told, _Known())


def provenance(cell_id: str) -> Mapping[str, Any]:
    """What a finished cell's entry says of where it came from."""
    document = json.loads((entries.here(cell_id) / entries.CELL).read_text(encoding="utf-8"))
    told: Mapping[str, Any] = document["provenance"]
    return told


def run(cell_id: str) -> str:
    """The cell's run in MLflow, as its newest sweep has noted it; "" where none has."""
    noted = (json.loads(files.here(path).read_text(encoding="utf-8")) for path in files.found(home.runs(), "*/*.json"))
    return next((runs[cell_id] for runs in noted if cell_id in runs), "")


class _Known:
    """Which cells there is something to read of, listed once: of thousands, few are asked for one by one."""

    def __init__(self) -> None:
        self.leased = leases.names()  # before the finished: a cell that ends meanwhile is one of both
        self.finished = entries.finished()
        self.failed = failures.known()
        self.watch = leases.Watch("")


def _study(manifest: Mapping[str, Any], known: _Known) -> StudyState:
    told = {name: manifest[name] for name in ("study", "question", "dataset", "title", "phantom")}
    return StudyState(**told, cells=[_cell(cell, known) for cell in manifest["cells"]])


def _cell(told: Mapping[str, Any], known: _Known) -> CellState:
    if told["id"] in known.finished:
        return CellState(cell=told, state=DONE)
    if told["id"] in known.leased and (holder := known.watch.holder(told["id"])):
        return CellState(cell=told, state=RUNNING, holder=holder)
    failure = failures.read(told["id"]) if told["id"] in known.failed else None
    return CellState(cell=told, state=MISSING if failure is None else failure.kind, failure=failure)


def _seconds(cell: CellState) -> float | None:
    """How long the cell took from its first line to its last, or would take at its pace; None where nothing tells."""
    if cell.state == DONE and cell.log and cell.log[-1]["event"] == cell_log.FINISHED:
        begun = [line for line in cell.log if line["event"] == cell_log.STARTED]
        if len(begun) == 1:  # a cell that went on after a pause would seem slow
            return (_time(cell.log[-1]) - _time(begun[0])).total_seconds()
    return cell.last["seconds"] * cell.last["of"] if cell.last else None


def _time(line: Mapping[str, Any]) -> datetime.datetime:
    return datetime.datetime.fromisoformat(line["time"])


def _manifest(path: Any) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads(files.here(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ResultsError(f"{path}: not a study's manifest ({error}); delete it and sweep the study again") from error
    return manifest
