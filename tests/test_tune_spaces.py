"""The studies that come with the project: each can be planned, on its own kind of data and on any other."""

import csv
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pam import study
from pam.data.prepare import prepare
from pam.data.store import Store
from pam.datasets import DATASETS
from pam.report import __main__ as report
from pam.sweep import __main__ as sweep
from pam.sweep.plan import apply_settings, check, plan
from pam.sweep.request import Request, settle
from pam.train import __main__ as train

TABLES = Path(__file__).resolve().parent.parent / "pam" / "report" / "paper_tables"
NAMES = study.names()
OF_CELLS = [name for name in NAMES if not study.load(name).search]
SMALL = ["--set", "epochs=1", "--set", "width=4"]


@pytest.fixture(scope="module")
def store(_shared_home: None) -> Store:
    return prepare(DATASETS.build("phantom"))


@pytest.mark.parametrize("name", NAMES)
def test_a_study_names_only_what_exists(name: str) -> None:
    declared = study.load(name)
    check(declared)
    assert declared.dataset in DATASETS.names()
    assert declared.question.endswith("?")


@pytest.mark.parametrize("name", NAMES)
def test_every_cell_of_a_study_can_be_built_at_another_width(name: str, store: Store) -> None:
    declared = apply_settings(replace(study.load(name), dataset="phantom", folds=3, seeds=1), {"width": 4})
    cells = [cell for cell, _ in plan(declared, store)]
    assert len({cell.id for cell in cells}) == len(declared.rows) * 3


@pytest.mark.parametrize("name", NAMES)
def test_a_study_is_held_against_published_rows_that_exist(name: str) -> None:
    for place in study.load(name).published.values():
        table, _, row = place.partition("/")
        with (TABLES / f"{table}.csv").open() as file:
            assert row in {line["network"] for line in csv.DictReader(file)}


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("cityscapes_attention", "cityscapes_table3"),
        ("isles_attention", "isles2018_table4"),
        ("brats_attention", "brats2018_table5"),
        ("brats_branches", "brats2018_table6"),
    ],
)
def test_a_papers_table_is_whole_in_its_study(name: str, table: str) -> None:
    with (TABLES / f"{table}.csv").open() as file:
        rows = {line["network"].lower() for line in csv.DictReader(file)}
    assert rows <= {row.name for row in study.load(name).rows}


def test_every_claim_of_the_paper_that_a_sweep_can_test_is_declared() -> None:
    declared = {claim.id for name in NAMES for claim in study.load(name).claims}
    assert {f"C{number}" for number in range(1, 13)} <= declared  # C13 is about receptive fields


@pytest.mark.parametrize("name", NAMES)
def test_a_studys_demo_has_a_phantom_in_the_layout_of_its_data(name: str) -> None:
    dataset = DATASETS.build(study.load(name).dataset)
    stand_in = DATASETS.build(dataset.stand_in)
    assert stand_in.phantom
    assert len(stand_in.modalities) == len(dataset.modalities)
    assert stand_in.reader == dataset.reader


@pytest.fixture(scope="module")
def demos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PAM_HOME of all demos: what two studies share is prepared and trained once."""
    return tmp_path_factory.mktemp("demos")


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_CELLS)
def test_a_studys_demo_trains_and_is_reported(
    name: str, demos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One fold, one seed and one pass through the slices, of the first row and the last: does it run to its page?"""
    monkeypatch.setenv("PAM_HOME", str(demos))
    prepare(DATASETS.build(DATASETS.build(study.load(name).dataset).stand_in))
    small = [name, "--demo", "--folds", "0", "--seeds", "0", *SMALL]
    assert train.main([*small, "--list"]) == 0
    ids = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert train.main([*small, "--cells", ids[0], ids[-1]]) == 0
    assert report.main([name, "--out", str(tmp_path)]) == 0
    (page,) = tmp_path.glob(f"{name}/*/README.md")
    asked = settle(Request(study=study.load(name), demo=True))[0]
    assert all(words in page.read_text() for words in (asked.rows[0].name, asked.rows[-1].name, asked.question))


def test_the_demo_of_a_study_of_seeds_has_more_than_one() -> None:
    seeds = {name: settle(Request(study=study.load(name), demo=True))[0].seeds for name in NAMES}
    assert seeds.pop("noise_floor") == 2
    assert set(seeds.values()) == {1}


def test_the_list_shows_question_size_claims_and_cost(capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep.main(["--list"]) == 0
    shown = capsys.readouterr().out
    assert "isles_attention: Does attention to mistakes beat" in shown
    assert "  isles2018: 5 rows × 5 folds × 3 seeds; claims: C6, C7\n  cost: 75 cells, 4,500 epochs, " in shown
    assert "  brats2018: 2 rows × 24 trials of a search; claims: none\n  cost: at most 3,840 epochs" in shown
    assert shown.count("\n") == 3 * len(NAMES)


def test_a_reader_that_leaves_is_no_error() -> None:
    quickest = next(name for name in NAMES if name not in OF_CELLS)  # a search's cost is not counted in operations
    command = f"{sys.executable} -m pam.sweep {quickest} --list | true"
    run = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
