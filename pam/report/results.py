"""All that a report rests on, read once: a study's cells, and their scores under each protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pam.report import paired, tables
from pam.report.paired import PatientScores
from pam.report.tables import Table
from pam.statistics import Spread, mean_of, nadeau_bengio
from pam.study import Study


@dataclass(frozen=True, kw_only=True)
class Results:
    """cells: as `pam.report.tables.collect` finds them; scores: by protocol, of those whose unit is the patient."""

    study: Study
    manifest: Mapping[str, Any]
    cells: pd.DataFrame
    table: Table
    scores: Mapping[str, PatientScores]
    older: frozenset[str]  # cells whose entries do not tell the image's diagonal

    def by_cell(self, key: str) -> pd.DataFrame:
        """A score of the protocol `paper`: a line per (fold, seed), a column per row; NaN where undefined."""
        finished = self.cells[self.cells.finished]
        return finished.pivot(index=["fold", "seed"], columns="label", values=key)  # noqa: PD010 (it keeps NaN)

    def sources(self) -> dict[str, list[str]]:
        """Row → its finished cells."""
        return {row.label: list(row.cells) for row in self.table.rows}


def collect(manifest: Mapping[str, Any], study: Study) -> Results:
    """Read the ledger. Raises `ResultsError` if no cell is finished or an entry is damaged."""
    cells = tables.collect(manifest)
    scores, older = paired.read(cells)
    table = tables.build(manifest, study, cells)
    return Results(study=study, manifest=manifest, cells=cells, table=table, scores=scores, older=older)


def apart(by_cell: pd.DataFrame, row: str, other: str, folds: int) -> tuple[float, Spread] | None:
    """Mean difference of two rows over folds, and its spread; None in fewer than two folds. by_cell: see `Results`.

    Each fold's seeds are averaged, those that both rows have; the spread is Nadeau and Bengio's. folds: of the study.
    """
    difference = (by_cell[row] - by_cell[other]).to_numpy()
    known = ~np.isnan(difference)
    _, where, seeds = np.unique(by_cell.index.get_level_values("fold")[known], return_inverse=True, return_counts=True)
    if len(seeds) < 2:
        return None
    means = np.bincount(where, weights=difference[known]) / seeds
    spread, _ = nadeau_bengio(means, 1 / (folds - 1))
    return mean_of(means), spread


def ranks(means: Mapping[str, float], *, more: bool) -> dict[str, float]:
    """Rank of each row, 1 the best, ties averaged; NaN for a mean that is."""
    values = pd.Series(means, dtype=np.float64)
    return {str(name): float(rank) for name, rank in values.rank(ascending=not more).items()}
