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
SCORES = ("iou", "dice", "hd95", "fn_rate")


@pytest.fixture(autouse=True)
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> study.Study:
    """A study found by the name `small` from the folder `tmp_path`."""
    (tmp_path / "tune_spaces").mkdir()
    (tmp_path / "tune_spaces" / "small.py").write_text(FILE)
    monkeypatch.chdir(tmp_path)
    return study.load("small")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_report_prints_the_table_and_says_where_the_files_are(swept, small, tmp_path: Path, capsys) -> None:
    swept(small)
    assert main(["small", "--out", str(tmp_path)]) == 0
    folder = tmp_path / "small" / "brats2018"
    names = (*TABLES, *(f"statistics_{score}" for score in SCORES))
    tables = {f"tables/{name}.{kind}" for name in names for kind in ("md", "csv", "tex", "html")}
    assert set(contents(folder)) == FILES | tables
    printed = capsys.readouterr().out
    assert "fpa dilation=9 expansion=4" in printed
    assert f"{folder}: README.md, figure7.png, figure7.svg, figure7.pdf, differences.png" in printed


def test_a_second_report_gives_the_same_bytes(swept, small, tmp_path: Path) -> None:
    swept(small)
    for out in ("one", "two"):
        main(["small", "--out", str(tmp_path / out)])
    folders = [tmp_path / out / "small" / "brats2018" for out in ("one", "two")]
    assert contents(folders[0]) == contents(folders[1])


def test_patients_images_stay_out_of_version_control_and_phantoms_do_not(swept, small, tmp_path: Path) -> None:
    swept(small)
    main(["small", "--out", str(tmp_path)])
    real = tmp_path / "small" / "brats2018"
    assert {"/overlays.*", "/attention.*", "/mistakes.*"} <= set((real / ".gitignore").read_text().splitlines())
    assert "(overlays.png)" not in (real / "README.md").read_text()
    swept(small, dataset="phantom", phantom=True, written="2026-11-25")
    main(["small", "--out", str(tmp_path)])
    made = tmp_path / "small" / "phantom"
    assert not (made / ".gitignore").exists()
    assert "(overlays.png)" in (made / "README.md").read_text()


def test_a_data_set_with_options_has_a_folder_that_every_file_system_takes(swept, small, tmp_path: Path) -> None:
    swept(small, dataset="brats2018:target=wt")
    assert main(["small", "--out", str(tmp_path)]) == 0
    assert [path.name for path in (tmp_path / "small").iterdir()] == ["brats2018.target=wt"]
    assert "brats2018:target=wt" in (tmp_path / "small" / "brats2018.target=wt" / "README.md").read_text()


def test_without_a_name_every_swept_study_is_reported(swept, small, tmp_path: Path) -> None:
    swept(small)
    assert main(["--out", str(tmp_path)]) == 0
    assert (tmp_path / "small" / "brats2018" / "README.md").is_file()


def test_the_newest_sweep_is_reported_unless_a_data_set_is_named(swept, small, tmp_path: Path) -> None:
    swept(small, dataset="lgg", written="2026-11-25")
    swept(small, written="2026-11-24")
    main(["small", "--out", str(tmp_path)])
    assert [path.name for path in (tmp_path / "small").iterdir()] == ["lgg"]
    main(["small", "--dataset", "brats2018", "--out", str(tmp_path)])
    assert (tmp_path / "small" / "brats2018").is_dir()


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
