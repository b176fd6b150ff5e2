"""What became of each cell that a study asks for, and why it has no result, or one that no longer counts."""

from __future__ import annotations

from dataclasses import dataclass, fields

from pam import failures
from pam.report.results import Results
from pam.study import RESULTS_VERSION, Cell

FINISHED, STALE, MISSING = "finished", "stale", "missing"
STATES = (failures.FAILED, failures.DIVERGED, MISSING, STALE)  # all that a report has to tell of


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """state: finished, or one of `STATES`. epoch: in which it failed or diverged, None where unknown; reason: or ""."""

    state: str
    epoch: int | None = None
    reason: str = ""


def outcomes(found: Results) -> dict[str, Outcome]:
    """By cell id."""
    outdated = stale(found)
    return {
        str(cell.id): _outcome(str(cell.id), bool(cell.finished), outdated)
        for cell in found.cells[["id", "finished"]].itertuples()
    }


def _outcome(cell_id: str, finished: bool, outdated: dict[str, str]) -> Outcome:
    if finished:
        reason = outdated.get(cell_id, "")
        return Outcome(state=STALE if reason else FINISHED, reason=reason)
    failure = failures.read(cell_id)
    if failure is None:
        return Outcome(state=MISSING, reason="not trained yet")
    return Outcome(state=failure.kind, epoch=failure.epoch or None, reason=failure.message)


def stale(found: Results) -> dict[str, str]:
    """Cell id → why this code, or the data that the study declares, would give another result."""
    names = {field.name for field in fields(Cell)}
    asked = found.manifest["cells"]
    ids = {told["id"]: Cell(**{name: told[name] for name in names}).id for told in asked}
    older = {told: f"of another RESULTS_VERSION than {RESULTS_VERSION}" for told, now in ids.items() if told != now}
    declared, cells = found.table.data_hash, found.cells[found.cells.finished & found.cells.entry_hash.notna()]
    other = cells[cells.entry_hash != declared]
    of_other_data = {
        str(cell_id): f"data hash {entry} instead of {declared}"
        for cell_id, entry in zip(other.id, other.entry_hash, strict=True)
    }
    return older | of_other_data
