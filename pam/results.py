"""All that a report rests on, read once: a study's cells, and their scores under each protocol."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pam import paired, tables
from pam.paired import PatientScores
from pam.statistics import Spread, nadeau_bengio
from pam.study import Study
from pam.tables import Table


@dataclass(frozen=True, kw_only=True)
class Results:
    """cells: as `pam.tables.collect` finds them; scores: by protocol, of those whose unit is the patient."""

    study: Study
    manifest: Mapping[str, Any]
    cells: pd.DataFrame
    table: Table
    scores: Mapping[str, PatientScores]
    older: frozenset[str]  # cells whose entries do not tell the image's diagonal

    def by_slice(self, row: str, other: str, key: str) -> tuple[float, Spread] | None:
        """Mean difference of two rows in the protocol `paper`, and its spread over folds; None in fewer than two folds.

        Each fold's seeds are averaged, those that both rows have; the spread is Nadeau and Bengio's.
        """
        finished = self.cells[self.cells.finished]
        one, two = (finished[finished.label == name].set_index(["fold", "seed"])[key] for name in (row, other))
        apart = (one - two).dropna().groupby("fold").mean()
        if len(apart) < 2:
            return None
        folds = int(self.manifest["folds"])
        spread, _ = nadeau_bengio(apart.to_numpy(), 1 / (folds - 1))
        return math.fsum(apart) / len(apart), spread

    def sources(self) -> dict[str, list[str]]:
        """Row → its finished cells."""
        return {row.label: list(row.cells) for row in self.table.rows}


def collect(manifest: Mapping[str, Any], study: Study) -> Results:
    """Read the ledger. Raises `ResultsError` if no cell is finished or an entry is damaged."""
    cells = tables.collect(manifest)
    scores, older = paired.read(cells)
    table = tables.build(manifest, study, cells)
    return Results(study=study, manifest=manifest, cells=cells, table=table, scores=scores, older=older)


def ranks(means: Mapping[str, float], *, more: bool) -> dict[str, float]:
    """Rank of each row, 1 the best, ties averaged; NaN for a mean that is."""
    values = pd.Series(means, dtype=np.float64)
    return {str(name): float(rank) for name, rank in values.rank(ascending=not more).items()}
