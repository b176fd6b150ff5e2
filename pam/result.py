"""One finished cell as plain values, which the ledger stores, or a carried file where the ledger cannot be written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Rows = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What training and scoring a cell gave; its rows are those of the tables of `pam.ledger.Entry`."""

    cell: dict[str, Any]  # the `pam.study.Cell` as plain data, its id included
    provenance: dict[str, Any]
    slices: Rows
    cases: Rows
    epochs: Rows
    predictions: Rows = field(default_factory=list)
    attention: Rows = field(default_factory=list)


Record = Callable[[Result], None]  # keeps a result for good
