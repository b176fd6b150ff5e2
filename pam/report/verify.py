"""Whether a committed report follows from the results, and whether this code would make them today."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pam.data import store
from pam.errors import DataError
from pam.report.outcomes import stale
from pam.report.publish import Report
from pam.report.results import Results
from pam.report.tables import gaps, sweep_command

LISTED = 5  # cells named in one line


def problems(report: Report, found: Results, out: Path) -> list[str]:
    """One line each: files that differ from what would be written, cells that are missing or stale."""
    return [*_files(report, out), *_missing(found), *_stale(found), *_commits(report, found, out)]


def _files(report: Report, out: Path) -> Iterator[str]:
    folder = report.folder(out)
    if not folder.is_dir():
        yield f"{folder}: no report; run: python -m pam.report {report.study}"
        return
    for name, content in report.files.items():
        path = folder / name
        if not path.is_file():
            if name in report.of_patients:
                continue
            yield f"{path}: missing; run: python -m pam.report {report.study}"
        elif path.read_bytes() != content:
            picture = (
                " (pictures also differ by matplotlib's version)" if path.suffix in (".png", ".svg", ".pdf") else ""
            )
            yield f"{path}: does not follow from the results{picture}; run: python -m pam.report {report.study}"
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.relative_to(folder).as_posix() not in report.files:
            yield f"{path}: is no part of the report; remove it"


def _missing(found: Results) -> Iterator[str]:
    for gap in gaps(found.table):
        yield f"{gap[2:]} Run: {sweep_command(found.manifest)}"


def _stale(found: Results) -> Iterator[str]:
    """Cells that this code, or the data as prepared now, would train anew; and entries of other data than declared."""
    names = {cell["id"]: f"{cell['label']} fold {cell['fold']} seed {cell['seed']}" for cell in found.manifest["cells"]}
    by_reason: dict[str, list[str]] = {}
    for cell_id, reason in stale(found).items():
        by_reason.setdefault(reason, []).append(names[cell_id])
    for reason, cells in by_reason.items():
        yield f"{_listed(cells)}: stale, {reason}; run: {sweep_command(found.manifest)}"
    declared = found.table.data_hash
    try:
        newest = store.find(found.table.dataset).hash
    except DataError:  # this machine holds no images, only results
        return
    if newest != declared:
        yield (
            f"all cells: stale, data hash {declared}, but {found.table.dataset} as prepared last has {newest}; "
            f"run: {sweep_command(found.manifest)}"
        )


def _commits(report: Report, found: Results, out: Path) -> Iterator[str]:
    """Cells that the committed report says come from another commit."""
    path = report.folder(out) / "provenance.json"
    if not path.is_file():
        return
    try:
        committed = json.loads(path.read_text(encoding="utf-8"))["cells"]
        told = {cell: committed[cell]["git_commit"] for cell in committed}
    except (ValueError, KeyError, TypeError):
        yield f"{path}: not the provenance of a report; run: python -m pam.report {report.study}"
        return
    for cell in found.cells[found.cells.finished].itertuples():
        before = told.get(cell.id)
        if before is not None and before != cell.git_commit:
            name = f"{cell.label} fold {cell.fold} seed {cell.seed}"
            yield f"{name}: of git commit {cell.git_commit}, but the report says {before}"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return "; ".join(names[:LISTED]) + more
