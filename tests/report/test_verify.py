"""`pam.report --check`, and the same report from MLflow alone; with a real MLflow store."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from pam import failures, home, ledger, study
from pam.errors import PamError
from pam.failures import Failure
from pam.report import publish
from pam.report.__main__ import main
from pam.report.verify import problems
from pam.track import Mirror, tracking_uri

STUDY = """
from pam.study import Claim, Study, Variant

STUDY = Study(
    question="Is aunet better?",
    dataset="brats2018",
    reference=Variant("unet"),
    variants=(Variant("aunet"),),
    folds=2,
    seeds=1,
    claims=(Claim(id="C1", text="aunet beats unet", row="aunet", over=("unet",), score="dice"),),
)
"""


OUT = Path("reports")


@dataclass(frozen=True, kw_only=True)
class Made:
    """A swept study and its report, made once; each test has copies of the home and of the folder that it runs in."""

    manifest: dict
    report: publish.Report
    home: Path
    folder: Path


@pytest.fixture(scope="module")
def made(swept, shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A study found by the name `small` from the folder, and its report in the folder's `reports`."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "tune_spaces").mkdir()
    (folder / "tune_spaces" / "small.py").write_text(STUDY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        manifest = swept(study.load("small"))
        report = publish.make(publish.collect("small", None))
        report.write(OUT)
    return Made(manifest=manifest, report=report, home=shared_home, folder=folder)


@pytest.fixture
def small(made: Made, pam_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """The study's manifest, in the test's own copies."""
    shutil.copytree(made.home, pam_home, dirs_exist_ok=True)
    shutil.copytree(made.folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return json.loads(json.dumps(made.manifest))


def check(capsys, *words: str) -> tuple[int, str]:
    capsys.readouterr()
    return main(["small", "--check", *words]), capsys.readouterr().out


def wrong(made: Made, out: Path = OUT) -> list[str]:
    """What a check says of that report and of the results as they are now, without drawing all figures anew."""
    return problems(made.report, publish.collect("small", None), out)


def entries(small: dict) -> list[Path]:
    return [ledger.folder(cell["id"]) for cell in small["cells"]]


def test_a_report_that_follows_from_the_ledger_passes(small: dict, capsys) -> None:
    Path("reports/small/brats2018/overlays.png").unlink()  # it shows patients' images, so it is not committed
    code, said = check(capsys)
    assert code == 0
    assert "files follow from it" in said


def test_a_report_that_was_never_made_fails(small: dict, made: Made) -> None:
    assert wrong(made, Path("other")) == ["other/small/brats2018: no report; run: python -m pam.report small"]


def test_each_file_that_was_changed_lost_or_added_is_named(small: dict, capsys) -> None:
    folder = Path("reports/small/brats2018")
    table = folder / "tables" / "paper.csv"
    table.write_text(table.read_text().replace("unet", "uNet", 1))
    (folder / "tables" / "brats.md").unlink()
    (folder / "older.md").write_text("")
    code, said = check(capsys)
    assert code == 1
    assert said.startswith("small on brats2018: 3 problems\n  reports/small/brats2018/")
    assert "tables/paper.csv: does not follow from the results" in said
    assert "tables/brats.md: missing" in said
    assert "older.md: is no part of the report" in said
    assert table.read_text().count("uNet") == 1  # a check writes nothing


def test_a_cell_that_is_gone_is_named_with_the_command_that_trains_it(small: dict, made: Made) -> None:
    ledger.remove(small["cells"][0]["id"])
    [said] = wrong(made)
    assert "1 of 2 cells missing (fold/seed 0/0). Run: python -m pam.sweep small" in said


def test_another_results_version_makes_cells_stale(small: dict, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pam.study.RESULTS_VERSION", 99)
    [said] = wrong(made)
    assert "stale, of another RESULTS_VERSION" in said


def test_an_entry_of_other_data_is_stale(small: dict, made: Made) -> None:
    path = entries(small)[0] / "cell.json"
    document = json.loads(path.read_text())
    document["provenance"]["data"] = {"hash": "other"}
    path.write_text(json.dumps(document))
    [said] = wrong(made)
    assert "stale, data hash other instead of 0123456789abcdef" in said


def test_a_cell_of_another_commit_than_the_report_says_is_named(small: dict, made: Made) -> None:
    path = entries(small)[0] / "cell.json"
    path.write_text(path.read_text().replace("e15de6a", "fffffff"))
    [said] = wrong(made)
    assert "fold 0 seed 0: of git commit fffffff, but the report says e15de6a" in said


def mirrored(small: dict, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The address of an MLflow store that holds the study."""
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert tracking_uri() == uri
    mirror = Mirror(small)
    for cell in small["cells"]:
        mirror.refresh(cell["id"])
    mirror.close()
    assert mirror.behind == ""
    return uri


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_mlflow_alone_gives_the_same_report_byte_for_byte(
    small: dict, capsys, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ledger.remove(small["cells"][3]["id"])  # an unfinished study, too, of which one cell diverged
    ledger.remove(small["cells"][2]["id"])
    failures.write(Failure(cell=small["cells"][2], kind=failures.DIVERGED, epoch=3, message="the loss is NaN"))
    uri = mirrored(small, monkeypatch, tmp_path)
    main(["small", "--out", "here"])
    moved = tmp_path / "elsewhere"
    shutil.move(home.home() / "ledger", moved)
    shutil.move(home.home() / "studies", moved)
    shutil.move(home.home() / "views", moved)
    shutil.move(home.home() / "failures", moved)
    main(["small", "--out", "there", "--tracking-uri", uri])
    assert contents(Path("there")) == contents(Path("here"))
    runs = json.loads((Path("there") / "small" / "brats2018" / "provenance.json").read_text())["cells"]
    assert [cell["mlflow_run"] is None for cell in runs.values()] == [c["state"] == "missing" for c in runs.values()]
    assert [cell["epoch"] for cell in runs.values() if cell["state"] == "diverged"] == [3]
    assert not (home.home() / "ledger").exists()


def test_a_store_without_the_study_says_so(small: dict, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    uri = mirrored(small, monkeypatch, tmp_path)
    with pytest.raises(PamError, match=r"no study 'small' on 'lgg'; it has it on: brats2018"):
        main(["small", "--dataset", "lgg", "--tracking-uri", uri])
    with pytest.raises(PamError, match="name the studies to report on"):
        main(["--tracking-uri", uri])
