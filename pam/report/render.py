"""A sheet as Markdown, CSV, LaTeX, HTML and plain text. The same sheet gives the same bytes: no dates, no paths."""

from __future__ import annotations

import csv
import html
import io
import math
import re
from collections.abc import Collection, Sequence

from pam.report.sheet import Sheet, Value
from pam.report.tables import Table, deviations_of

PHANTOM = "PHANTOM DATA: images made by this project, not by a scanner; the numbers say nothing about patients."


def markdown(sheet: Sheet, table: Table) -> str:
    """A page of its own: heading, deviations, the table, caption and notes."""
    phantom = [f"> **{PHANTOM}**", ""] if table.phantom else []
    head = [f"# {sheet.title}: {table.heading}", "", *phantom, deviations_of(table), ""]
    return "\n".join([*head, *_grid(sheet), "", sheet.caption, *_listed(sheet.notes)]) + "\n"


def section(sheet: Sheet, told: Collection[str]) -> str:
    """A section of a page that says once what holds for all its tables, and the notes `told`."""
    notes = [note for note in sheet.notes if note not in told]
    return "\n".join([f"## {sheet.title}", "", *_grid(sheet), "", sheet.caption, *_listed(notes)]) + "\n"


def _grid(sheet: Sheet) -> list[str]:
    rows = [list(sheet.head), *([_marked(value, "**") for value in row] for row in sheet.body)]
    texts = [[text.replace("|", r"\|") for text in row] for row in rows]
    widths = [max(3, *map(len, column)) for column in zip(*texts, strict=True)]
    lines = [[_pad(t, w, i < sheet.texts) for i, (t, w) in enumerate(zip(row, widths, strict=True))] for row in texts]
    rule = ["-" * width if i < sheet.texts else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    return ["| " + " | ".join(line) + " |" for line in (lines[0], rule, *lines[1:])]


def _listed(notes: Sequence[str]) -> list[str]:
    return ["", *(f"- {note}" for note in notes)] if notes else []


def plain(sheet: Sheet, table: Table, columns: Sequence[str]) -> str:
    """The columns named, as far as there are such, to print in a terminal."""
    chosen = [sheet.head.index(name) for name in columns if name in sheet.head]
    rows = [[sheet.head[i] for i in chosen], *([row[i].text for i in chosen] for row in sheet.body)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    body = ["  ".join(_pad(t, w, i == 0) for i, (t, w) in enumerate(zip(row, widths, strict=True))) for row in rows]
    head = [f"{sheet.title}: {table.heading}", *([PHANTOM] if table.phantom else [])]
    return "\n".join(
        [*head, f"Protocol: {sheet.protocol}. {deviations_of(table)}", "", *(line.rstrip() for line in body)]
    )


def comma_separated(sheet: Sheet, table: Table) -> str:
    """For programs: full precision, fractions instead of per cent, an empty field where nothing is defined."""
    context = {
        "study": table.study,
        "dataset": table.dataset,
        "title": table.title,
        "phantom": str(table.phantom).lower(),
        "deviations": "; ".join(table.deviations),
        "protocol": sheet.protocol,
        "unit": sheet.unit,
        "data_hash": table.data_hash,
        "split": table.split,
        "git_commits": " ".join(table.commits),
        "devices": "; ".join(table.devices),
    }
    records = [{**record, **context} for record in sheet.records]
    buffer = io.StringIO()
    writer = csv.DictWriter(
        buffer, list(dict.fromkeys(key for record in records for key in record)), lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(records)
    return buffer.getvalue()


def latex(sheet: Sheet, table: Table) -> str:
    """A booktabs table; the document needs the packages booktabs and graphicx."""
    bold = f"{sheet.title}: {table.heading}." + (f" {PHANTOM}" if table.phantom else "")
    rows = [" & ".join(map(_tex, row)) + r" \\" for row in sheet.body]
    apart = sheet.reference and len(rows) > 1
    lines = [
        r"% needs \usepackage{booktabs,graphicx}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{\textbf{{{_escape(bold)}}} {_escape(deviations_of(table))}}}",
        rf"\label{{tab:{table.study}-{table.dataset}-{sheet.name}}}",
        r"\resizebox{\textwidth}{!}{%",
        rf"\begin{{tabular}}{{{'l' * sheet.texts}{'r' * (len(sheet.head) - sheet.texts)}}}",
        r"\toprule",
        " & ".join(map(_escape, sheet.head)) + r" \\",
        r"\midrule",
        *([rows[0], r"\midrule", *rows[1:]] if apart else rows),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\par\smallskip",
        r"\begin{minipage}{\textwidth}\footnotesize  % below the table: TeX cannot set a caption of any length",
        *(rf"{_escape(text)}\par" for text in (sheet.caption, *sheet.notes)),
        r"\end{minipage}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def fragment(sheet: Sheet, table: Table) -> str:
    """A `<figure>` with the table, to put into a page. A cell's `data-value` is what it sorts by."""
    head = "".join(f'<th scope="col">{html.escape(text)}</th>' for text in sheet.head)
    rows = []
    for row in sheet.body:
        cells = [f'<th scope="row">{_html(row[0])}</th>']
        for i, value in enumerate(row[1:], start=1):
            sort = "" if math.isnan(value.number) else f' data-value="{float(value.number)!r}"'
            words = ' class="text"' if i < sheet.texts else ""
            cells.append(f"<td{words}{sort}>{_html(value)}</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    phantom = f"<p><strong>{html.escape(PHANTOM)}</strong></p>" if table.phantom else ""
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in sheet.notes)
    what = f"Protocol: {sheet.protocol}. Unit: the {sheet.unit}. {deviations_of(table)}"
    lines = [
        f'<figure class="sheet" id="{sheet.name}">',
        f"<table><caption>{html.escape(f'{sheet.title}: {table.heading}')}</caption>",
        f"<thead><tr>{head}</tr></thead>",
        "<tbody>",
        *rows,
        "</tbody></table>",
        f"<figcaption>{phantom}<p>{html.escape(what)}</p>",
        f"<details><summary>What the numbers are</summary><p>{html.escape(sheet.caption)}</p></details>",
        *([f"<ul>{notes}</ul>"] if notes else []),
        "</figcaption></figure>",
    ]
    return "\n".join(lines) + "\n"


FORMATS = {"md": markdown, "csv": comma_separated, "tex": latex, "html": fragment}


def _marked(value: Value, mark: str) -> str:
    return f"{mark}{value.text}{mark}" if value.bold else value.text


def _pad(text: str, width: int, left: bool) -> str:
    return f"{text:{'<' if left else '>'}{width}}"


def _html(value: Value) -> str:
    text = html.escape(value.text)
    return f"<strong>{text}</strong>" if value.bold else text


def _tex(value: Value) -> str:
    return rf"\textbf{{{_escape(value.text)}}}" if value.bold else _escape(value.text)


def _escape(text: str) -> str:
    """Text for LaTeX: its special characters escaped, signs that old fonts lack as commands."""
    signs = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    signs |= {letter: f"\\{letter}" for letter in "&%$#_{}"}
    signs |= {"±": r"$\pm$", "×": r"$\times$", "−": "$-$", "†": r"\dag{}", "–": "--", "≥": r"$\geq$", "≤": r"$\leq$"}
    signs |= {"Δ": r"$\Delta$", "→": r"$\rightarrow$", "τ": r"$\tau$", "<": "$<$", ">": "$>$"}
    return re.sub("|".join(map(re.escape, signs)), lambda match: signs[match[0]], text)
