"""A table as it is shown: texts, the numbers behind them, and what a reader must know about them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Value:
    """One cell of a table. number: what it sorts by, NaN if it has none."""

    text: str
    number: float = math.nan
    bold: bool = False


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column by row label: what is shown, and what it adds to each record of the CSV.

    alike: no row can be told from the best.
    """

    heading: str
    values: Mapping[str, Value]
    fields: Mapping[str, Mapping[str, object]]
    alike: bool = False


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """One table. The first column names the row and is text; `reference`: whether its first row stands apart.

    records: a line of the CSV for each row, at full precision; rests_on: the study's rows whose cells a row rests on.
    """

    name: str  # of its files
    title: str
    protocol: str
    unit: str
    head: tuple[str, ...]
    body: tuple[tuple[Value, ...], ...]
    caption: str
    records: tuple[Mapping[str, object], ...]
    rests_on: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    texts: int = 1  # the first columns that are words, not numbers
    reference: bool = False


def number(value: float) -> str:
    """The shortest text that reads back as the same float; empty for NaN."""
    return "" if math.isnan(value) else repr(float(value))


def interval(low: float, high: float, decimals: int, *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    return f"{low:{sign}.{decimals}f} to {high:{sign}.{decimals}f}"
