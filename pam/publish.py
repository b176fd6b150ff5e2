"""A study's files: its table in three formats, its claims' verdicts, and its panels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pam import claims, home, manifest, render, study, tables
from pam.errors import ResultsError
from pam.figures import forest, panels
from pam.files import whole


@dataclass(frozen=True, kw_only=True)
class Publication:
    """What was written: the table as plain text, and the files by name in `folder`."""

    text: str
    folder: Path
    files: tuple[str, ...]


def publish(name_or_path: str, dataset: str | None, out: Path) -> Publication:
    """Write a study's table and figure under out/STUDY/DATASET.

    `dataset`: None for the one swept last. Raises `StudyError` for a study that does not exist or was never swept
    there, `ResultsError` if none of its cells is finished; nothing is written then.
    """
    declared = study.load(name_or_path)
    asked = manifest.read(declared.name, dataset)
    cells = tables.collect(asked)
    table = tables.build(asked, declared, cells)
    files = {
        "table.md": render.markdown(table).encode(),
        "table.csv": render.comma_separated(table).encode(),
        "table.tex": render.latex(table).encode(),
    }
    verdicts = claims.judge(declared, cells)
    if verdicts:
        files["claims.md"] = claims.markdown(verdicts, table.heading).encode()
    for kind, image in panels.draw(declared, table).items():
        files[f"figure7.{kind}"] = image
    differences = claims.against_reference(declared, cells)
    for kind, image in forest.draw(differences, table, declared.reference.name).items():
        files[f"differences.{kind}"] = image
    folder = out / table.study / table.dataset
    for name, content in files.items():
        with whole(folder / name) as file:
            file.write(content)
    text = "\n".join([render.plain(table), *([""] if verdicts else []), *map(claims.sentence, verdicts)])
    return Publication(text=text, folder=folder, files=tuple(files))


def swept() -> list[str]:
    """Names of the studies that have a manifest. Raises `ResultsError` if there is none."""
    names = sorted({path.parent.name for path in home.studies().glob("*/*.json")})
    if not names:
        raise ResultsError(f"{home.studies()}: no study was swept yet; run: python -m pam.sweep STUDY")
    return names
