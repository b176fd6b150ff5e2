import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pam import study
from pam.errors import PamError
from pam.report.__main__ import main

FILE = """
from pam.study import Claim, Panel, Study, Variant, grid

STUDY = Study(
    question="Does a larger dilation help?",
    dataset="brats2018",
    reference=Variant("unet"),
    variants=grid(Variant("fpa"), dilation=[6, 9], expansion=[4]),
    folds=2,
    seeds=1,
    claims=(Claim(id="C1", text="fpa beats unet", row="fpa dilation=9 expansion=4", over=("unet",)),),
    panels=(Panel(name="a", network="fpa", over="dilation", lines="expansion"),),
)
"""
FIGURES = ("figure7", "differences", "ranks", "attention", "overlays", "mistakes", "loss")
FILES = {".gitignore", "README.md", "report.html", "cells.csv", "provenance.json"}
FILES |= {f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg", "pdf")}
TABLES = ("claims", "paper", "patient", "brats", "ranking")
NEWEST = "brats2018.target=wt"  # the folder of the newest sweep's report
SCORES = ("iou", "dice", "hd95", "fn_rate")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder from which a study is found by the name `small`."""
    path = tmp_path_factory.mktemp("folder")
    (path / "tune_spaces").mkdir()
    (path / "tune_spaces" / "small.py").write_text(FILE)
    return path


@pytest.fixture(autouse=True)
def _in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


@pytest.fixture(scope="module")
def reported(swept, shared_home: Path, folder: Path) -> tuple[Path, str]:
    """The folder of a study's reports and what was printed: of the newest sweep, then of one on a phantom."""
    out, printed = folder / "out", io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.chdir(folder)
        small = study.load("small")
        swept(small, dataset="brats2018:target=wt", written="2026-11-25")
        swept(small, dataset="phantom", phantom=True, written="2026-11-24")
        assert main(["--out", str(out)]) == 0  # of every study, as no name is given
        assert [path.name for path in (out / "small").iterdir()] == [NEWEST]
        assert main(["small", "--dataset", "phantom", "--out", str(out)]) == 0
    return out / "small", printed.getvalue()


def test_the_report_prints_the_table_and_says_where_the_files_are(reported) -> None:
    reports, printed = reported
    names = (*TABLES, *(f"statistics_{score}" for score in SCORES))
    tables = {f"tables/{name}.{kind}" for name in names for kind in ("md", "csv", "tex", "html")}
    found = reports / NEWEST
    files = {path.relative_to(found).as_posix() for path in found.rglob("*") if path.is_file()}
    assert files == FILES | tables
    assert "fpa dilation=9 expansion=4" in printed
    assert f"{found}: README.md, figure7.png, figure7.svg, figure7.pdf, differences.png" in printed


def test_patients_images_stay_out_of_version_control_and_phantoms_do_not(reported) -> None:
    real, made = (reported[0] / name for name in (NEWEST, "phantom"))
    assert {"/overlays.*", "/attention.*", "/mistakes.*"} <= set((real / ".gitignore").read_text().splitlines())
    assert "(overlays.png)" not in (real / "README.md").read_text()
    assert not (made / ".gitignore").exists()
    assert "(overlays.png)" in (made / "README.md").read_text()


def test_a_data_set_with_options_has_a_folder_that_every_file_system_takes(reported) -> None:
    assert "brats2018:target=wt" in (reported[0] / NEWEST / "README.md").read_text()


def test_without_a_name_every_study_is_reported_on_its_newest_sweep_and_a_data_set_can_be_named(reported) -> None:
    reports, printed = reported
    assert sorted(path.name for path in reports.iterdir()) == [NEWEST, "phantom"]
    assert printed.index(f"{reports / NEWEST}:") < printed.index(f"{reports / 'phantom'}:")


@pytest.mark.parametrize("arguments", [[], ["small"], ["small", "--dataset", "lgg"], ["no_such_study"]])
def test_a_report_of_nothing_is_an_error_and_writes_nothing(arguments: list[str], tmp_path: Path) -> None:
    with pytest.raises(PamError):
        main([*arguments, "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_the_command_ends_with_one_line_and_code_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pam.report", "small", "--out", str(tmp_path)]
    ended = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert "run: python -m pam.sweep small" in ended.stderr
