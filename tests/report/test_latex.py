"""Every table of a report, set by a real LaTeX."""

import shutil
import subprocess
from pathlib import Path

import pytest

from pam import study
from pam.report import publish, results

DOCUMENT = r"""\documentclass{article}
\usepackage[utf8]{inputenc}
\usepackage{booktabs,graphicx}
\begin{document}
%s
\end{document}
"""


def test_every_table_compiles(swept, tmp_path: Path) -> None:
    latex = shutil.which("pdflatex")
    if latex is None:
        pytest.skip("no pdflatex on this machine; Debian: texlive-latex-base")
    declared = study.load("fpa_dilation")
    manifest = swept(declared, folds=[0, 1], seeds=[0], title="100% of_all & #1 {x} ~ ^ \\", phantom=True)
    files = publish.make(results.collect(manifest, declared)).files
    tables = {name.partition("/")[2]: text for name, text in files.items() if name.endswith(".tex")}
    assert len(tables) > 5
    for name, text in tables.items():
        (tmp_path / name).write_bytes(text)
    (tmp_path / "all.tex").write_text(DOCUMENT % "\n".join(rf"\input{{{name}}}" for name in tables))
    command = [latex, "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert ended.returncode == 0, ended.stdout[-2000:]
    assert (tmp_path / "all.pdf").stat().st_size > 0
