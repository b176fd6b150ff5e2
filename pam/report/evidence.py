"""What figures of single cases are made from: the ledger's masks and attention maps, and the data set's views.

Each case is shown by the network of its test fold with the lowest finished seed, so no picture averages anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pam import ledger, views
from pam.counts import counted
from pam.data.view import VIEW, unpacked
from pam.statements import Claim
from pam.study import Study
from pam.views import View

QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)
SHOWN = f"Shown: {VIEW}; the network of the case's test fold with the lowest seed."


@dataclass(frozen=True, kw_only=True)
class Attention:
    """A map (h w, 0 to 1) and the module that it is the output of."""

    module: str
    values: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Masks (h w, bool) and attention maps by (row's label, case), of the slice that `views` shows.

    cells   the cells shown: label, fold, seed, id
    dice    of each whole case: one row per case, one column per label; NaN where undefined or not tested
    older   labels of which some cell shown was scored before predictions were kept
    """

    views: Mapping[str, View]
    cells: pd.DataFrame
    dice: pd.DataFrame
    masks: Mapping[tuple[str, str], np.ndarray]
    attention: Mapping[tuple[str, str], Attention]
    older: tuple[str, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """Rows with a mask to show, in the table's order."""
        there = {label for label, _ in self.masks}
        return tuple(label for label in self.dice.columns if label in there)


def gather(cells: pd.DataFrame, data_hash: str) -> Evidence:
    """The evidence of the cells that `pam.report.tables.collect` found. Raises `ResultsError` for a damaged entry."""
    shown = cells[cells.finished].sort_values("seed", kind="stable").drop_duplicates(["label", "fold"])
    pictures = views.read(data_hash)
    masks: dict[tuple[str, str], np.ndarray] = {}
    attention: dict[tuple[str, str], Attention] = {}
    older = []
    for label, cell_id in zip(shown.label, shown.id, strict=True):
        predictions = ledger.evidence(cell_id, "predictions")
        if predictions is None:
            older.append(label)
            continue
        for row in _of_views(predictions, pictures):
            masks[label, row["case"]] = unpacked(row["mask"], row["height"], row["width"])
        for row in _of_views(ledger.evidence(cell_id, "attention"), pictures):
            values = np.frombuffer(row["values"], np.float16).reshape(row["height"], row["width"])
            attention[label, row["case"]] = Attention(module=row["module"], values=values.astype(np.float32))
    return Evidence(
        views=pictures,
        cells=shown[["label", "fold", "seed", "id"]],
        dice=_dice(shown, list(dict.fromkeys(cells.label))),
        masks=masks,
        attention=attention,
        older=tuple(dict.fromkeys(older)),
    )


def columns(evidence: Evidence, study: Study, most: int, among: Sequence[str] | None = None) -> list[str]:
    """Rows to show beside each other: the reference, those that a claim compares, then those of highest mean Dice."""
    possible = list(evidence.labels if among is None else among)
    claimed = [label for claim in study.claims if isinstance(claim, Claim) for label in claim.rows]
    best = evidence.dice[possible].mean().sort_values(ascending=False, kind="stable").index
    order = dict.fromkeys([study.reference.name, *claimed, *best])
    return [label for label in order if label in possible][:most]


def at_quantiles(values: pd.Series[float], quantiles: Sequence[float] = QUANTILES) -> dict[str, float]:
    """Case → its quantile: the case at each quantile of the values, each case once; cases of equal value by name."""
    ordered = values.dropna().sort_index().sort_values(kind="stable")
    if ordered.empty:
        return {}
    found: dict[str, float] = {}
    for quantile in quantiles:
        found.setdefault(str(ordered.index[round(quantile * (len(ordered) - 1))]), quantile)
    return found


def chosen_by(what: str, cases: int) -> str:
    """How the cases of a figure were chosen, as a sentence."""
    return f"Cases: at the quantiles (in %) of {what}, of {counted(cases, 'case')}."


def changed(evidence: Evidence, better: str, other: str) -> pd.DataFrame:
    """Pixels over all slices of each case: `fixed` by a row, `broken` by it, and wrong in `both`; by case.

    Where two masks differ, exactly one of them is wrong; so their exclusive or and the stored counts of errors tell all
    three without the target. Cases that were not tested by both are left out.
    """
    masks, wrong = {}, {}
    for label in (better, other):
        ids = evidence.cells.id[evidence.cells.label == label]
        kept = [part for part in (ledger.evidence(cell, "predictions") for cell in ids) if part is not None]
        masks[label] = pd.concat(kept).astype({"case": str}).set_index(["case", "slice"])["mask"]
        scored = ledger.read_many(ids, "cases", ["case", "fp", "fn"]).astype({"case": str})
        wrong[label] = scored.set_index("case")[["fp", "fn"]].sum(axis=1)
    pairs = pd.DataFrame({"a": masks[better], "b": masks[other]}).dropna()
    differ = [_differing(a, b) for a, b in zip(pairs.a, pairs.b, strict=True)]
    by_case = pd.DataFrame({"differ": np.array(differ, np.int64)}, index=pairs.index).groupby("case").sum()
    by_case["a"], by_case["b"] = wrong[better].reindex(by_case.index), wrong[other].reindex(by_case.index)
    return pd.DataFrame(
        {
            "fixed": (by_case.differ + by_case.b - by_case.a) // 2,
            "broken": (by_case.differ - by_case.b + by_case.a) // 2,
            "both": (by_case.a + by_case.b - by_case.differ) // 2,
        }
    )


def _differing(a: bytes, b: bytes) -> int:
    """Bits that differ."""
    return int(np.bitwise_count(np.frombuffer(a, np.uint8) ^ np.frombuffer(b, np.uint8)).sum())


def _of_views(rows: pd.DataFrame | None, pictures: Mapping[str, View]) -> list[dict[str, Any]]:
    """The rows of the slices that are shown."""
    if rows is None:
        return []
    shown = rows.case.astype(str).map({case: view.slice for case, view in pictures.items()})
    found: list[dict[str, Any]] = rows[shown == rows.slice].to_dict("records")  # type: ignore[assignment]
    return found


def _dice(shown: pd.DataFrame, labels: list[str]) -> pd.DataFrame:
    scores = ledger.read_many(shown.id, "cases", ["case", "dice"]).astype({"cell_id": str, "case": str})
    named = scores.assign(label=scores.cell_id.map(dict(zip(shown.id, shown.label, strict=True))))
    return named.pivot(index="case", columns="label", values="dice").reindex(columns=labels)  # noqa: PD010 (keeps NaN)
