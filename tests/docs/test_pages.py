"""The documentation's pages do what they show, each in a folder and a PAM_HOME of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
LINKING = [ROOT / "README.md", *sorted((ROOT / "cluster").rglob("*.md")), *sorted(DOCS.rglob("*.md"))]
RUNS = re.compile(r"^```(python|console)$", re.MULTILINE)
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if RUNS.search(page.read_text(encoding="utf-8"))]


@pytest.mark.timeout(900)  # ten seconds of work each, on a machine that may be busy
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_a_page_does_what_it_shows(
    page: Path, tmp_path: Path, pam_home: Path, new_home: Callable[[Path], Path]
) -> None:
    new_home(pam_home)
    runner = [sys.executable, str(Path(__file__).with_name("run_page.py")), str(page)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PAM_HOME": str(pam_home), "PYTHONHASHSEED": "0"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    run = subprocess.run(runner, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]


def test_every_page_of_ones_own_is_run() -> None:
    assert {page.name for page in PAGES if page.parent.name == "own"} == {
        page.name for page in (DOCS / "own").glob("*.md")
    }


@pytest.mark.parametrize("page", LINKING, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_to_files_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]
