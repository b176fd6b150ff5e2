"""The finished cells' results as Parquet: the source of truth for every table and figure.

One folder per cell id under `pam.home.ledger()`, with `slices.parquet`, `cases.parquet`, `epochs.parquet`, the evidence
that figures show (`predictions.parquet`, `attention.parquet`) and, written last, `cell.json`: the cell, its provenance
and the tables' checksums. An entry exists exactly while its cell.json does. Entries of the first version lack evidence.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pam.entries import CELL, folder, has, here, remove, send
from pam.errors import ResultsError
from pam.result import Result

TABLES = ("slices", "cases", "epochs")
EVIDENCE = ("predictions", "attention")
__all__ = ["Entry", "add", "copy", "evidence", "folder", "has", "here", "lacking", "read", "read_cell", "read_folder"]
__all__ += ["read_many", "read_provenance", "remove", "write"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One finished cell.

    cell        the `pam.study.Cell` as plain data, its id included
    provenance  where the result came from: git_commit, versions, device, parameters, data, …
    slices      one row per test slice: patient, case, slice, `pam.metrics.SCORES` named by `pam.evaluate.in_unit` (px)
    cases       one row per test case: patient, case, slices, the same scores (mm)
    epochs      one row per epoch: epoch, loss, seconds
    predictions one row per test slice: patient, case, slice, height, width, mask (as `pam.data.view.packed` packs it)
    attention   one row per test case: patient, case, slice, module, height, width, values (float16, row by row): the
                deepest encoder's attention map of the slice that `pam.data.view.view_slice` chooses, the mean over its
                channels; no row for a network without one

    The evidence is written where it is given, and read by `evidence` alone: `read` leaves it None.
    """

    cell: dict[str, Any]
    provenance: dict[str, Any]
    slices: pd.DataFrame
    cases: pd.DataFrame
    epochs: pd.DataFrame
    predictions: pd.DataFrame | None = None
    attention: pd.DataFrame | None = None


def add(result: Result) -> None:
    """`write`, of a result as training gives it."""
    tables = {name: pd.DataFrame(getattr(result, name)) for name in (*TABLES, *EVIDENCE)}
    write(Entry(cell=result.cell, provenance=result.provenance, **tables))


def write(entry: Entry) -> None:
    """Add the entry: whole or not at all, also when killed midway. An entry that is there already stays.

    Two entries of one id hold the same result, so the first of two writers wins and the other is dropped.
    """
    _place(entry.cell["id"], lambda staged: _fill(staged, entry))


def copy(path: Path) -> None:
    """`write`, of an entry's folder that lies elsewhere. Raises `ResultsError` if it is damaged."""
    document = _document(path)
    for table in document["tables"]:
        _table(path, document, table)
    files = [CELL, *(f"{table}.parquet" for table in document["tables"])]
    _place(path.name, lambda staged: [shutil.copyfile(path / name, staged / name) for name in files])


def _place(cell_id: str, fill: Callable[[Path], object]) -> None:
    """Add the entry whose files `fill` writes to a folder, unless it is there."""
    final = folder(cell_id)
    if has(cell_id):
        return
    staged = final.with_name(f".{final.name}.{uuid.uuid4().hex}")
    staged.mkdir(parents=True)
    try:
        fill(staged)
        if send(staged, cell_id):
            return
        if not has(cell_id):
            shutil.rmtree(final, ignore_errors=True)  # what an interrupted `remove` may have left
        try:
            staged.rename(final)
        except OSError:  # the folder is not empty: another writer was first, or the disk fails
            if not has(cell_id):
                raise
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def read(cell_id: str) -> Entry:
    """The cell's entry. Raises `ResultsError` if there is none or if it is damaged."""
    return read_folder(here(cell_id))


def read_folder(path: Path) -> Entry:
    """As `read`, of an entry that may lie elsewhere; its folder's name is the cell's id."""
    document = _document(path)
    tables = {table: _table(path, document, table).to_pandas() for table in TABLES}
    return Entry(cell=document["cell"], provenance=document["provenance"], **tables)


def read_provenance(cell_id: str) -> dict[str, Any]:
    """Where the cell's result came from, without reading its tables."""
    provenance: dict[str, Any] = _document(here(cell_id))["provenance"]
    return provenance


def read_cell(cell_id: str) -> dict[str, Any]:
    """The cell as plain data, without reading its tables."""
    cell: dict[str, Any] = _document(here(cell_id))["cell"]
    return cell


def read_many(
    ids: Iterable[str],
    table: str = "slices",
    columns: Sequence[str] | None = None,
    later: Sequence[str] = (),
) -> pd.DataFrame:
    """One table of several cells, below each other in the order of `ids`, with a categorical column `cell_id`.

    `columns` limits what is kept. `later` names columns kept besides that older entries lack: they are NaN there, and
    `lacking` tells in which. Raises `ResultsError` for a cell without an entry or with a damaged one.
    """
    assert table in TABLES, f"no table {table!r}; there are {TABLES}"
    parts = []
    for cell_id in ids:
        entry = here(cell_id)
        part = _table(entry, _document(entry), table, columns, later)
        codes = pa.array(np.zeros(part.num_rows, dtype=np.int32))
        parts.append(part.add_column(0, "cell_id", pa.DictionaryArray.from_arrays(codes, pa.array([cell_id]))))
    assert parts, "read_many needs at least one cell id"
    frame: pd.DataFrame = pa.concat_tables(parts, promote_options="permissive").unify_dictionaries().to_pandas()
    return frame


def evidence(cell_id: str, table: str) -> pd.DataFrame | None:
    """The cell's predictions or attention maps; None for an entry written before they were kept, or without a row.

    Raises `ResultsError` as `read` does.
    """
    assert table in EVIDENCE, f"no evidence {table!r}; there are {EVIDENCE}"
    entry = here(cell_id)
    document = _document(entry)
    if table not in document["tables"]:
        return None
    frame: pd.DataFrame = _table(entry, document, table).to_pandas()
    return frame


def lacking(ids: Iterable[str], table: str, columns: Iterable[str]) -> dict[str, list[str]]:
    """Column → the cells whose entries were written before it was stored; columns that all have are left out."""
    stored = {cell_id: set(pq.read_schema(here(cell_id) / f"{table}.parquet").names) for cell_id in ids}
    absent = {name: [cell_id for cell_id, names in stored.items() if name not in names] for name in columns}
    return {name: cells for name, cells in absent.items() if cells}


def _fill(staged: Path, entry: Entry) -> None:
    """Write the entry's files, cell.json last."""
    tables = {}
    for name in (*TABLES, *EVIDENCE):
        frame = getattr(entry, name)
        if frame is None or (name in EVIDENCE and frame.empty):
            continue
        path = staged / f"{name}.parquet"
        table = _compact(frame)
        pq.write_table(table, path, compression="zstd")
        tables[name] = {"rows": table.num_rows, "sha256": _sha256(path)}
    document = {"cell": entry.cell, "provenance": entry.provenance, "tables": tables}
    text = json.dumps(document, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    (staged / CELL).write_text(text + "\n", encoding="utf-8")


def _compact(frame: pd.DataFrame) -> pa.Table:
    """Whole numbers as int32 and text as dictionaries; scores stay float64, so what is read is what was scored."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    for position, field in enumerate(table.schema):
        column = table.column(position)
        if pa.types.is_integer(field.type):
            column = column.cast(pa.int32())
        elif pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            column = column.cast(pa.string()).dictionary_encode()
        table = table.set_column(position, field.name, column)
    return table.replace_schema_metadata(None)


def _document(entry: Path) -> dict[str, Any]:
    path = entry / CELL
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        found = document["cell"]["id"]
        document["provenance"], document["tables"]
    except FileNotFoundError:
        raise ResultsError(f"{path}: no such entry; run the sweep to train this cell") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ResultsError(_damaged(path, f"not a cell's description ({error!r})")) from error
    if found != entry.name:
        raise ResultsError(_damaged(path, f"describes cell {found}"))
    return document  # type: ignore[no-any-return]


def _table(
    entry: Path,
    document: dict[str, Any],
    name: str,
    columns: Sequence[str] | None = None,
    later: Sequence[str] = (),
) -> pa.Table:
    path = entry / f"{name}.parquet"
    if not path.is_file():
        raise ResultsError(_damaged(path, "missing"))
    if _sha256(path) != document["tables"].get(name, {}).get("sha256"):
        raise ResultsError(_damaged(path, "its checksum differs from the one in cell.json"))
    stored = pq.read_schema(path).names
    absent = set(columns or ()) - set(stored)
    if absent:
        raise ResultsError(_damaged(path, f"no column {min(absent)!r}"))
    kept = stored if columns is None else [*columns, *(column for column in later if column in stored)]
    table = pq.read_table(path, columns=kept, partitioning=None)
    for column in set(later) - set(stored):
        table = table.append_column(column, pa.array(np.full(table.num_rows, np.nan)))
    return table if columns is None else table.select([*columns, *later])


def _damaged(path: Path, found: str) -> str:
    return f"{path}: {found}; the entry is damaged: delete {path.parent} and run the sweep again"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
