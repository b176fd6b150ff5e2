"""A study's files: its report as a page, tables in four formats, figures, and where each number comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pam import files, home, manifest, study
from pam.counts import counted
from pam.errors import ResultsError
from pam.files import portable_name, whole
from pam.report import claims, comparison, document, published, render, results, sheets, trace
from pam.report import verdicts as claim_table
from pam.report.claims import Verdict
from pam.report.evidence import gather
from pam.report.figures import every
from pam.report.results import Results
from pam.report.sheet import Sheet
from pam.report.tables import GAP, deviations_of, gaps, origin

WHERE = (
    "[provenance.json](provenance.json) leads from each number to its rows, cells, commits, data and MLflow runs; "
    "[cells.csv](cells.csv) has a line per cell. [tables](tables) holds the tables as Markdown, CSV, LaTeX and HTML."
)
HTML = "report.html"
OF_PATIENTS = (*every.OF_PATIENTS, HTML.partition(".")[0])  # names of files, without their endings
OUT_OF_GIT = "\n".join(
    [
        "# These show parts of patients' images. The rest of a report is numbers and curves, and may be committed.",
        *(f"/{name}.*" for name in OF_PATIENTS),
        "",
    ]
)
IN_TERMINAL = ("Variant", "IoU (%)", "Dice (%)", "HD95 (px)", "HD95 (mm)", "FN/P (%)", "n")


@dataclass(frozen=True, kw_only=True)
class Report:
    """A study's report, not yet written: its name, data set and plain text, and its files by path in its folder."""

    study: str
    dataset: str
    text: str
    files: Mapping[str, bytes]
    of_patients: frozenset[str]  # the files that show parts of patients' images

    def folder(self, out: Path) -> Path:
        return out / self.study / portable_name(self.dataset)

    def write(self, out: Path) -> None:
        for name, content in self.files.items():
            with whole(self.folder(out) / name) as file:
                file.write(content)


def collect(name_or_path: str, dataset: str | None) -> Results:
    """A study's results. `dataset`: None for the one swept last.

    Raises `StudyError` for a study that does not exist or was never swept there, `ResultsError` if none of its cells is
    finished.
    """
    declared = study.load(name_or_path)
    return results.collect(manifest.read(declared.name, dataset), declared)


def make(found: Results) -> Report:
    """The report of these results."""
    tables = _sheets(found)
    table, made = found.table, _contents(found, tables)
    of_patients = frozenset() if table.phantom else frozenset(filter(_shows_patients, made))
    text = _text(found, tables)
    return Report(study=table.study, dataset=table.dataset, text=text, files=made, of_patients=of_patients)


def _shows_patients(name: str) -> bool:
    return name.partition(".")[0] in OF_PATIENTS


def _contents(found: Results, tables: Sequence[Sheet]) -> dict[str, bytes]:
    """The report's files by path. The same results give the same bytes, whatever the order in which they are read."""
    table = found.table
    evidence = gather(found.cells, table.data_hash)
    figures = every.draw(found, evidence)
    images = {f"{name}.{kind}": image for name, kinds in figures.items() for kind, image in kinds.items()}
    cells = trace.cells(found, _runs(table.study, table.dataset))
    made = {"README.md": _page(found, tables, images).encode(), **images}
    for sheet in tables:
        for kind, rendered in render.FORMATS.items():
            made[f"tables/{sheet.name}.{kind}"] = rendered(sheet, table).encode()
    made["cells.csv"] = trace.comma_separated(cells).encode()
    made[HTML] = document.page(
        found, sheets=tables, verdicts=_verdicts(found), figures=figures, evidence=evidence, cells=cells
    ).encode()
    if not table.phantom:
        made[".gitignore"] = OUT_OF_GIT.encode()
    made["provenance.json"] = trace.document(found, tables, cells).encode()
    return made


def _text(found: Results, tables: Sequence[Sheet]) -> str:
    """What a terminal shows: the scores under two protocols, what is missing or mixed, and the verdicts."""
    table = found.table
    shown = [render.plain(sheet, table, IN_TERMINAL) for sheet in tables if sheet.name in ("paper", "patient")]
    mixed = [note for note in origin(table) if note.startswith("MIXED")]
    return "\n\n".join([*shown, "\n".join([*gaps(table), *mixed, *map(claims.sentence, _verdicts(found))])]).rstrip()


def _verdicts(found: Results) -> tuple[Verdict, ...]:
    return claims.judge(found.study, found.scores["patient"], len(found.older))


def swept() -> list[str]:
    """Names of the studies that have a manifest. Raises `ResultsError` if there is none."""
    names = sorted({path.parent.name for path in files.found(home.studies(), "*/*.json")})
    if not names:
        raise ResultsError(f"{home.studies()}: no study was swept yet; run: python -m pam.sweep STUDY")
    return names


def _sheets(found: Results) -> list[Sheet]:
    """All of a study's tables, in the order of the page."""
    beside, verdicts = published.beside(found), _verdicts(found)
    compared = any(row.name in found.scores["patient"].labels for row in found.study.variants)
    return [
        *([claim_table.sheet(verdicts)] if verdicts else []),
        sheets.paper(found, beside),
        *(sheets.by_patient(found, protocol, beside) for protocol in found.scores),
        *(comparison.statistics(found) if compared else []),
        comparison.ranking(found),
    ]


def _page(found: Results, tables: Sequence[Sheet], images: Mapping[str, bytes]) -> str:
    """The report as one Markdown page."""
    table = found.table
    missing = sum(len(row.missing) for row in table.rows)
    common = [*gaps(table), *origin(table)]
    hidden = [] if table.phantom else [name for name in images if _shows_patients(name) and name.endswith(".png")]
    blocks = [
        f"# {table.heading}",
        *([f"> **{render.PHANTOM}**"] if table.phantom else []),
        table.question,
        *([f"**Unfinished: {counted(missing, 'cell')} missing, marked {GAP}.**"] if missing else []),
        deviations_of(table),
        "\n".join(f"- {note}" for note in common),
        *(render.section(sheet, common).rstrip() for sheet in tables),
        "## Figures",
        *(f"![{name.partition('.')[0]}]({name})" for name in images if name.endswith(".png") and name not in hidden),
        f"All of this, with each case to look at, is in {HTML}, one file that needs no network"
        + (f" (not in version control, like {', '.join(hidden)}: they show patients' images)." if hidden else "."),
        "## Where each number comes from",
        WHERE,
    ]
    return "\n\n".join(blocks) + "\n"


def _runs(name: str, dataset: str) -> dict[str, str]:
    """Cell → MLflow run, as the mirror has noted; empty if there is no mirror."""
    path = home.runs_of(name, dataset)
    found: dict[str, str] = json.loads(files.here(path).read_text()) if files.exists(path) else {}
    return found
