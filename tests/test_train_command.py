"""`python -m pam.train`: the sweep's very result without Ray, on a machine that has torch, numpy and scipy alone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pam import cli, ledger, manifest, study
from pam.data.store import find
from pam.sweep.__main__ import main as sweep
from pam.sweep.plan import apply_settings, plan
from pam.track.__main__ import main as track
from pam.train.__main__ import main

ROOT = Path(__file__).resolve().parent.parent
STUDY = """
from pam.study import Study, Variant

STUDY = Study(
    question="Is it the same without Ray?",
    dataset="phantom",
    reference=Variant("unet"),
    variants=(Variant("fpa", {"dilation": 2}),),
    folds=2,
    seeds=1,
    recipe={"epochs": 2},
)
"""
SMALL = ["--set", "width=2"]
ABSENT = ("ray", "mlflow", "nibabel", "pandas", "pyarrow", "rich", "platformdirs", "PIL", "matplotlib")
BARE = f"""
import sys
sys.modules.update(dict.fromkeys({ABSENT}))
from pam.train.__main__ import main
from pam import cli
sys.argv[0] = "train"
cli.run(main)
"""


def bare(folder: Path, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BARE, *words],
        cwd=folder,
        env={**os.environ, "PAM_HOME": str(home), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, new_home: Callable[[Path], Path]) -> Path:
    """A folder with a study and two homes: `ray`, swept there with Ray, and `bare`, with the prepared data alone."""
    folder = tmp_path_factory.mktemp("study")
    (folder / "small.py").write_text(STUDY)
    new_home(folder / "ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAM_HOME", str(folder / "ray"))
        assert cli.guarded(sweep, [str(folder / "small.py"), *SMALL, "--folds", "0"]) == 0
    shutil.copytree(folder / "ray" / "prepared", folder / "bare" / "prepared")
    return folder


def cell_ids(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("PAM_HOME", str(folder / "ray"))
    declared = apply_settings(study.load(str(folder / "small.py")), {"width": 2})
    return [cell.id for cell, _ in plan(declared, find("phantom"), folds=[0])]


def test_a_manifest_lists_a_studys_cells_in_the_order_of_its_rows(folder, monkeypatch):
    monkeypatch.setenv("PAM_HOME", str(folder / "ray"))
    assert [cell["label"] for cell in manifest.read("small")["cells"]] == ["unet", "fpa dilation=2"]


def test_without_ray_pandas_or_mlflow_cells_have_the_sweeps_result_bit_for_bit(folder, monkeypatch, pam_home, capsys):
    ids = cell_ids(folder, monkeypatch)
    expected = {cell: (ledger.read(cell), evidence(cell)) for cell in ids}
    trained = bare(folder, folder / "bare", "small.py", *SMALL, "--cells", *ids)
    assert trained.returncode == 0, trained.stderr
    assert "2 cells trained, 0 done already, of 2" in trained.stdout
    carried = folder / "bare" / "carried"
    assert f"into a ledger: python -m pam.track import {carried}" in trained.stdout
    assert not (folder / "bare" / "ledger").exists()

    monkeypatch.setenv("PAM_HOME", str(pam_home))
    assert cli.guarded(track, ["import", str(carried)]) == 0
    assert "2 cells taken" in capsys.readouterr().out
    for cell in ids:
        entry, (swept, masks) = ledger.read(cell), expected[cell]
        assert entry.cell == swept.cell
        assert entry.slices.equals(swept.slices)
        assert entry.cases.equals(swept.cases)
        assert list(entry.epochs.loss) == list(swept.epochs.loss)
        assert list(entry.epochs.columns) == list(swept.epochs.columns)
        assert [a is b or a.equals(b) for a, b in zip(evidence(cell), masks, strict=True)] == [True, True]

    again = bare(folder, folder / "bare", "small.py", *SMALL, "--folds", "0")
    assert "0 cells trained, 2 done already, of 2" in again.stdout


def evidence(cell: str) -> list:
    return [ledger.evidence(cell, table) for table in ledger.EVIDENCE]


def test_where_pandas_is_there_results_go_to_the_ledger_or_where_carry_says(folder, monkeypatch, tmp_path, capsys):
    ids = cell_ids(folder, monkeypatch)
    before = ledger.read(ids[0])
    words = [str(folder / "small.py"), *SMALL]
    ledger.remove(ids[0])
    assert main([*words, "--folds", "0", "--only", "unet"]) == 0
    assert ledger.read(ids[0]).slices.equals(before.slices)
    ledger.remove(ids[0])
    assert main([*words, "--cells", ids[0], "--carry", str(tmp_path)]) == 0
    assert not ledger.has(ids[0])
    assert [path.name for path in tmp_path.iterdir()] == [f"{ids[0]}.cell.json.gz"]
    ledger.write(before)
    capsys.readouterr()


def test_the_list_names_every_cell_and_whether_it_is_done(folder, monkeypatch, capsys):
    ids = cell_ids(folder, monkeypatch)
    assert main([str(folder / "small.py"), *SMALL, "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[0] == f"{ids[0]}  done   unet, fold 0, seed 0"
    assert re.fullmatch(r"\w{16}  to do  unet, fold 1, seed 0", lines[2])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "error: no cells named: give --cells ID …"),
        (["--cells", "abc"], "error: --cells abc: no cell of study 'small' on phantom with these settings; --list"),
        (["--all", "--cpus", "0"], "error: --cpus is 0; expected"),
        (
            ["--all", "--carry", __file__],
            f"error: {__file__}: cannot be written (File exists); free it, or name another",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(words, said, folder, capsys, monkeypatch):
    monkeypatch.setenv("PAM_HOME", str(folder / "bare"))
    assert cli.guarded(main, [str(folder / "small.py"), *words]) == cli.BAD_INPUT
    error = capsys.readouterr().err
    assert error.startswith(said) and error.count("\n") == 1


def test_a_bare_machine_without_prepared_data_is_told_what_to_do(folder, tmp_path):
    told = bare(folder, tmp_path, "small.py", "--all")
    assert told.returncode == cli.BAD_INPUT
    assert "'phantom' is not prepared" in told.stderr
    assert "copy its PAM_HOME/prepared here" in told.stderr
    assert told.stderr.count("\n") == 1


def test_a_cell_that_diverges_is_named_and_the_exit_code_is_one(folder, monkeypatch, capsys):
    monkeypatch.setenv("PAM_HOME", str(folder / "bare"))
    hopeless = ["--set", "learning_rate=1e30", "--set", "precision=float32", "--folds", "0", "--only", "unet"]
    assert main([str(folder / "small.py"), *SMALL, *hopeless]) == 1
    assert re.search(
        r"^failed: unet, fold 0, seed 0: Diverged: the loss became", capsys.readouterr().out, flags=re.MULTILINE
    )
