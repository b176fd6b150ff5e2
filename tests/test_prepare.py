import subprocess
import sys
from pathlib import Path

import pytest

from pam import cli
from pam.data.store import find
from pam.datasets import DATASETS, phantom
from pam.prepare import main


def prepare(*arguments: str) -> int:
    return cli.guarded(main, arguments)


def test_a_phantom_needs_no_source_and_the_summary_says_what_was_stored(capsys: pytest.CaptureFixture[str]):
    assert prepare("phantom") == 0
    output = capsys.readouterr().out
    store = find("phantom")
    assert "phantom, enhancing tumour: 20 patients, 20 cases, 240 slices (4 × 48 × 48)" in output
    assert "peak memory" in output and " s," in output
    assert str(store.path) in output


def test_a_second_run_says_that_there_is_nothing_to_do(capsys: pytest.CaptureFixture[str]):
    prepare("phantom")
    capsys.readouterr()
    assert prepare("phantom") == 0
    assert "prepared already" in capsys.readouterr().out


def test_the_list_names_every_data_set_and_what_it_expects(capsys: pytest.CaptureFixture[str]):
    assert prepare("--list") == 0
    output = capsys.readouterr().out
    for name in DATASETS.names():
        assert f"{name}: {DATASETS.build(name).title}" in output
        assert DATASETS.build(name).expects in output
    assert "option target: et, tc, wt (default et)" in output


def test_an_option_makes_another_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    phantom.write_tree(tmp_path, patients=2, shape=(4, 32, 32))
    for target in ("et", "wt"):
        assert prepare("brats2018", "--source", str(tmp_path), "--set", f"target={target}") == 0
    assert "named brats2018:target=wt in studies and by --dataset" in capsys.readouterr().out
    assert find("brats2018").index.target_pixels.sum() < find("brats2018:target=wt").index.target_pixels.sum()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "no data set named; there are: brats2018"),
        (["brats"], "unknown data set 'brats'; there are: brats2018"),
        (["brats2018"], "needs a source folder (--source DIR)"),
        (["brats2018", "--source", "absent"], "absent: no such folder; expected HGG/"),
        (["brats2018", "--source", "."], "no case of BRATS 2018 found; expected HGG/"),
        (["phantom", "--set", "targets=wt"], "no option 'targets'; it has: target"),
        (["phantom", "--set", "target"], "expected KEY=VALUE"),
        (["phantom", "--set", "target=x"], "expected one of: et, tc, wt"),
        (["phantom", "--workers", "0"], "expected a number above 0"),
        (["phantom", "--wrokers", "2"], "--wrokers"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.chdir(tmp_path)
    assert prepare(*arguments) == cli.BAD_INPUT
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1


def test_the_command_runs_as_a_module_with_plain_lines(tmp_path: Path):
    phantom.write_tree(tmp_path, patients=2, shape=(4, 32, 32))
    path = next(tmp_path.rglob("*_t2.nii.gz"))
    path.write_bytes(path.read_bytes()[:-20])
    command = [sys.executable, "-m", "pam.prepare", "brats2018", "--source", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == cli.BAD_INPUT
    assert result.stdout == ""
    assert result.stderr.startswith(f"error: {path}: ") and result.stderr.count("\n") == 1
