import os
import subprocess
import sys
from pathlib import Path

import pytest

from pam import study
from pam.errors import PamError
from pam.report import main

STUDY = study.load("fpa_dilation")
FILES = {"README.md", "cells.csv", "provenance.json", "figure7.png", "figure7.svg", "figure7.pdf"}
TABLES = ("claims", "paper", "patient", "brats", "ranking")
SCORES = ("iou", "dice", "hd95", "fn_rate")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_report_prints_the_table_and_says_where_the_files_are(swept, tmp_path: Path, capsys) -> None:
    swept(STUDY, folds=[0], seeds=[0])
    assert main(["fpa_dilation", "--out", str(tmp_path)]) == 0
    folder = tmp_path / "fpa_dilation" / "brats2018"
    names = (*TABLES, *(f"statistics_{score}" for score in SCORES))
    tables = {f"tables/{name}.{kind}" for name in names for kind in ("md", "csv", "tex", "html")}
    assert set(contents(folder)) == FILES | tables
    printed = capsys.readouterr().out
    assert "fpa dilation=12 expansion=8 depthwise=True" in printed
    assert f"{folder}: README.md, figure7.png, figure7.svg, figure7.pdf, tables/, cells.csv, provenance.json" in printed


def test_a_second_report_gives_the_same_bytes(swept, tmp_path: Path) -> None:
    swept(STUDY, folds=[0, 1], seeds=[0])
    for out in ("one", "two"):
        main(["fpa_dilation", "--out", str(tmp_path / out)])
    folders = [tmp_path / out / "fpa_dilation" / "brats2018" for out in ("one", "two")]
    assert contents(folders[0]) == contents(folders[1])


def test_without_a_name_every_swept_study_is_reported(swept, tmp_path: Path) -> None:
    swept(STUDY, folds=[0], seeds=[0])
    assert main(["--out", str(tmp_path)]) == 0
    assert (tmp_path / "fpa_dilation" / "brats2018" / "README.md").is_file()


def test_the_newest_sweep_is_reported_unless_a_data_set_is_named(swept, tmp_path: Path) -> None:
    swept(STUDY, folds=[0], seeds=[0], dataset="lgg", written="2026-11-25")
    swept(STUDY, folds=[0], seeds=[0], written="2026-11-24")
    main(["fpa_dilation", "--out", str(tmp_path)])
    assert [path.name for path in (tmp_path / "fpa_dilation").iterdir()] == ["lgg"]
    main(["fpa_dilation", "--dataset", "brats2018", "--out", str(tmp_path)])
    assert (tmp_path / "fpa_dilation" / "brats2018").is_dir()


@pytest.mark.parametrize("arguments", [[], ["fpa_dilation"], ["fpa_dilation", "--dataset", "lgg"], ["no_such_study"]])
def test_a_report_of_nothing_is_an_error_and_writes_nothing(arguments: list[str], tmp_path: Path) -> None:
    with pytest.raises(PamError):
        main([*arguments, "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_the_command_ends_with_one_line_and_code_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pam.report", "fpa_dilation", "--out", str(tmp_path)]
    ended = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert "run: python -m pam.sweep fpa_dilation" in ended.stderr
