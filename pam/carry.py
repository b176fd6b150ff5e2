"""Results as files to carry to another machine's ledger: written and read with the standard library alone.

One gzipped JSON file per cell: `results_version`, `cell`, `provenance`, `tables` (name → column → values, null for
NaN, {"base64": …} for bytes) and `sha256`, the hash of the rest as canonical JSON. Numbers keep every bit.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import math
from pathlib import Path
from typing import Any

from pam.errors import ResultsError
from pam.files import whole
from pam.result import Result, Rows
from pam.study import RESULTS_VERSION, Cell

SUFFIX = ".cell.json.gz"
TABLES = ("slices", "cases", "epochs", "predictions", "attention")


def path_in(folder: Path, cell_id: str) -> Path:
    return folder / f"{cell_id}{SUFFIX}"


def write(result: Result, folder: Path) -> Path:
    """The result as a file in the folder, there whole or not at all."""
    document = {
        "results_version": RESULTS_VERSION,
        "cell": result.cell,
        "provenance": result.provenance,
        "tables": {name: _columns(getattr(result, name)) for name in TABLES},
    }
    text = _canonical({**document, "sha256": _hash(document)})
    path = path_in(folder, result.cell["id"])
    with whole(path) as file:
        file.write(gzip.compress(text.encode(), mtime=0))
    return path


def read(path: Path) -> Result:
    """What `write` was given. Raises `ResultsError` for a file that is damaged, changed or of another version."""
    try:
        document = json.loads(gzip.decompress(path.read_bytes()))
        found = document.pop("sha256")
        version, cell = document["results_version"], document["cell"]
        tables = {name: _rows(document["tables"][name]) for name in TABLES}
        provenance = document["provenance"]
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ResultsError(
            f"{path}: not a carried cell ({error!r}); carry it again from where it was trained"
        ) from error
    if found != _hash(document):
        raise ResultsError(f"{path}: its content does not have the hash it states; carry it again")
    check(path, cell, version)
    return Result(cell=cell, provenance=provenance, **tables)


def check(path: Path, cell: dict[str, Any], version: int = RESULTS_VERSION) -> None:
    """Raise `ResultsError` unless this version of the program gives the cell the id that it has."""
    if version != RESULTS_VERSION:
        raise ResultsError(
            f"{path}: a result of RESULTS_VERSION {version}; expected {RESULTS_VERSION}, this program's: train it again"
        )
    try:
        expected = Cell(**{name: value for name, value in cell.items() if name != "id"}).id
    except (TypeError, AssertionError) as error:
        raise ResultsError(f"{path}: not a cell's description ({error}); carry it again") from error
    if cell.get("id") != expected:
        raise ResultsError(
            f"{path}: cell {cell.get('id')}, but its description has the id {expected} under RESULTS_VERSION "
            f"{RESULTS_VERSION}; it was changed, or made by another version of this program"
        )


def _columns(rows: Rows) -> dict[str, list[Any]]:
    names = list(rows[0]) if rows else []
    return {name: [_plain(row[name]) for row in rows] for name in names}


def _rows(columns: dict[str, list[Any]]) -> Rows:
    values = [list(map(_value, column)) for column in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    return None if isinstance(value, float) and math.isnan(value) else value


def _value(plain: object) -> object:
    if isinstance(plain, dict):
        return base64.b64decode(plain["base64"], validate=True)
    return math.nan if plain is None else plain


def _canonical(document: dict[str, Any]) -> str:
    """JSON without choice. Strict: an infinity raises `ValueError`, for no score is one."""
    return json.dumps(document, allow_nan=False, ensure_ascii=False, separators=(",", ":"))


def _hash(document: dict[str, Any]) -> str:
    return hashlib.sha256(_canonical(document).encode()).hexdigest()
