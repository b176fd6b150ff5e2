"""A study's report as one self-contained HTML file: no request leaves it, and it reads without a network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jinja2

from pam import ledger
from pam.counts import counted
from pam.report import render
from pam.report.claims import Verdict
from pam.report.evidence import SHOWN, Evidence
from pam.report.explorer import MOST, explore, uri
from pam.report.outcomes import STATES
from pam.report.results import Results
from pam.report.sheet import Sheet
from pam.report.tables import deviations_of, gaps, origin, sweep_command

CAPTIONS = {
    "figure7": "The factors of the study",
    "differences": "Differences to the reference",
    "ranks": "Rank stability",
    "attention": "Attention maps",
    "overlays": "Mistakes, case by case",
    "mistakes": "Mistakes of one row against another's",
    "loss": "Learning curves",
    "validation_dice": "Validation during training",
}
SHORT = 10  # of a hash or commit


def page(
    found: Results,
    *,
    sheets: Sequence[Sheet],
    verdicts: Sequence[Verdict],
    figures: Mapping[str, Mapping[str, bytes]],
    evidence: Evidence,
    cells: Sequence[Mapping[str, Any]],
) -> str:
    """The page. cells: as `pam.report.trace.cells` gives them. The same results give the same bytes."""
    table = found.table
    return _template().render(
        table=table,
        phantom=render.PHANTOM if table.phantom else "",
        deviations=deviations_of(table),
        gaps=gaps(table),
        origin=origin(table),
        verdicts=verdicts,
        tables=[render.fragment(sheet, table) for sheet in sheets],  # HTML, which has escaped what it is told
        figures=[(name, CAPTIONS.get(name, name), _smallest(images)) for name, images in figures.items()],
        explorer=explore(evidence, [row.label for row in table.rows]),
        shown=SHOWN,
        most=MOST,
        older=evidence.older,
        data=_data(found),
        split=_split(found),
        rows=_by_row(found, cells),
        cells=len(cells),
        places={row.label: number for number, row in enumerate(table.rows)},
        missing=[cell for cell in cells if not cell["finished"]],
        untold=sorted(
            (cell for cell in cells if cell["state"] in STATES), key=lambda cell: STATES.index(cell["state"])
        ),
        states={state: sum(cell["state"] == state for cell in cells) for state in STATES},
        again=sweep_command(found.manifest),
        versions=_versions(found),
        short=SHORT,
    )


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pam.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["counted"] = counted
    return environment.get_template("report.html")


def _smallest(images: Mapping[str, bytes]) -> str:
    """A figure's lines as SVG, unless its pictures make that larger than PNG."""
    kinds = {"image/svg+xml": images["svg"], "image/png": images["png"]}
    return uri(*min(kinds.items(), key=lambda kind: len(kind[1])))


def _data(found: Results) -> list[tuple[str, str]]:
    """What the first finished cell's entry tells of the data, in words."""
    first = found.cells[found.cells.finished].sort_values("id").id.iloc[0]
    told: Mapping[str, Any] = ledger.read_provenance(first).get("data", {})
    pairs = [
        ("Data set", found.table.title),
        ("Target", told.get("target")),
        ("Modalities", ", ".join(told.get("modalities", []))),
        (
            "Patients, cases, slices",
            ", ".join(str(told[key]) for key in ("patients", "cases", "slices") if key in told),
        ),
        ("Slice", " × ".join(map(str, told.get("size", [])))),
        ("Target voxels outside the crop", told.get("target_cut")),
        ("Remarks", " ".join(found.manifest.get("remarks", []))),
        ("Content hash", found.table.data_hash),
    ]
    return [(name, str(value)) for name, value in pairs if value not in (None, "")]


def _split(found: Results) -> list[tuple[str, str]]:
    """How patients are split, and how many each test fold holds."""
    split = found.manifest.get("split", {})
    scores = found.scores["patient"]
    sizes = Counter(int(fold) for fold in scores.folds)
    counts = ", ".join(f"fold {fold}: {sizes[fold]}" for fold in sorted(sizes))
    seeds = ", ".join(map(str, sorted(set(found.cells.seed.astype(int)))))
    pairs = [
        ("Split", split.get("words")),
        ("Split hash", split.get("hash")),
        ("Patients tested", counts),
        ("Seeds", seeds),
    ]
    return [(name, str(value)) for name, value in pairs if value]


def _by_row(found: Results, cells: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    """The cells behind each row of the tables."""
    for row in found.table.rows:
        yield row.label, [cell for cell in cells if cell["label"] == row.label]


def _versions(found: Results) -> list[tuple[str, int]]:
    """Versions of everything that the results depend on, and the number of cells that ran on them."""
    told: Counter[str] = Counter()
    for cell in sorted(set(found.cells[found.cells.finished].id)):
        provenance = ledger.read_provenance(cell)
        packages = {"pam": provenance.get("pam"), "Python": provenance.get("python"), **provenance.get("packages", {})}
        told[", ".join(f"{name} {version}" for name, version in packages.items() if version) or "not told"] += 1
    return sorted(told.items())
