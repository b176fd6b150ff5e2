"""What is known of cells that ended without a result: one JSON file per cell id under `pam.home.failures()`.

A record stays until the cell is asked for again (`pam.sweep --rerun`) and finishes; until then no sweep trains it.
"""

from __future__ import annotations

import datetime
import json
import math
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pam import files, home
from pam.errors import ResultsError

DIVERGED = "diverged"  # the loss or a weight became NaN or infinite: trained again it would do the same
FAILED = "failed"  # an error, or a process that died, more often than a sweep tries again
KINDS = (DIVERGED, FAILED)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One cell that ended without a result.

    cell       the `pam.study.Cell` as plain data, its id included
    kind       one of `KINDS`
    epoch      the pass in which it ended, from 1; 0 where that is unknown
    message    one line
    traceback  where the error was raised; "" for a cell that diverged
    metrics    of the last epoch that ended well; {} where there was none
    """

    cell: Mapping[str, Any]
    kind: str
    epoch: int
    message: str
    traceback: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    when: str = field(default_factory=_now)
    host: str = field(default_factory=platform.node)

    def __post_init__(self) -> None:
        assert self.kind in KINDS, f"{self.kind!r} is none of {KINDS}"

    @property
    def summary(self) -> str:
        """Kind, epoch and message, in one line."""
        where = f" in epoch {self.epoch}" if self.epoch and self.kind == FAILED else ""
        return f"{self.kind}{where}: {self.message}"


def path_of(cell_id: str) -> Path:
    """Where the cell's record lies, or would lie."""
    return home.failures() / f"{cell_id}.json"


def write(failure: Failure) -> None:
    """Record the failure in place of an earlier one of the same cell."""
    known = {name: value for name, value in failure.metrics.items() if math.isfinite(value)}
    text = json.dumps({**asdict(failure), "metrics": known}, indent=1, allow_nan=False, ensure_ascii=False)
    files.write_text(path_of(str(failure.cell["id"])), text + "\n")


def read(cell_id: str) -> Failure | None:
    """The cell's record; None where there is none. Raises `ResultsError` for a damaged one."""
    path = path_of(cell_id)
    try:
        return Failure(**json.loads(files.here(path).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise ResultsError(f"{path}: not a failure's record ({error}); delete it to train the cell again") from error


def known() -> set[str]:
    """The ids of all cells that have a record."""
    return {path.stem for path in files.found(home.failures(), "*.json")}


def forget(cell_id: str) -> None:
    """Remove the cell's record if there is one: the cell is to be trained again, or has finished."""
    files.remove(path_of(cell_id))
