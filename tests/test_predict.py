"""New cases segmented by a study's networks, as a user does it; the networks are trained here, in this process."""

import shutil
from collections import defaultdict
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from pam import cli, ledger, manifest, predict
from pam.data.view import unpacked
from pam.datasets.phantom import PATIENTS, write_tree
from pam.metrics import score
from pam.train.__main__ import main as train

STUDY = """
from pam.study import Study, Variant

STUDY = Study(
    question="?",
    dataset="phantom",
    reference=Variant("unet", {"width": 4}),
    variants=(Variant("fpa", {"width": 2}),),
    folds=2,
    seeds=1,
    recipe={"epochs": 3},
)
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study, its PAM_HOME and scans, of which the last patient is new to the study."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "small.py").write_text(STUDY)
    write_tree(folder / "scans", patients=PATIENTS + 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAM_HOME", str(folder / "home"))
        assert cli.guarded(train, [str(folder / "small.py"), "--all"]) == 0
    return folder


@pytest.fixture
def scans(trained: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A copy of the scans to change."""
    monkeypatch.setenv("PAM_HOME", str(trained / "home"))
    monkeypatch.chdir(trained)
    return Path(shutil.copytree(trained / "scans" / "HGG", tmp_path / "scans" / "HGG"))


def case_of(number: int) -> str:
    return f"Brats18_PHANTOM_{number:03d}_1"


NEW = case_of(PATIENTS + 1)


def run(*words: object) -> int:
    return cli.guarded(predict.main, ["small.py", *map(str, words)])


def voxels(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def test_a_new_case_is_segmented_in_its_sources_geometry_and_scored_against_its_truth(scans, tmp_path):
    out = tmp_path / "out"
    assert run(scans / NEW, "-o", out, "--variant", "unet", "--uncertainty") == 0
    made, truth = nib.load(out / f"{NEW}_prediction.nii.gz"), nib.load(scans / NEW / f"{NEW}_seg.nii.gz")
    assert made.shape == truth.shape
    assert np.array_equal(made.affine, truth.affine)
    assert made.get_data_dtype() == np.uint8
    prediction, target = np.asarray(made.dataobj) > 0, np.asarray(truth.dataobj) == 4
    [row] = pd.read_csv(out / "scores.csv").to_dict("records")
    expected = score(prediction.T, target.T, made.header.get_zooms()[::-1])
    assert row["dice"] == pytest.approx(expected["dice"])
    assert row["hd95_mm"] == pytest.approx(expected["hd95"])
    probability, disagreement = (voxels(out / f"{NEW}_{name}.nii.gz") for name in ("probability", "disagreement"))
    assert np.array_equal(probability > 0.5, prediction)
    assert 0 < disagreement.max() <= 0.5


def test_a_patient_of_the_study_is_segmented_by_the_networks_that_never_trained_on_it(scans, tmp_path, capsys):
    case = case_of(3)
    assert run(scans / case, "-o", tmp_path / "out", "--variant", "unet") == 0
    assert "segmented by those 1 of 2 networks that have not trained on it" in capsys.readouterr().out
    found = manifest.read("small")["cells"]
    stored = [ledger.evidence(cell["id"], "predictions") for cell in found if cell["label"].startswith("unet")]
    [rows] = [table[table.case == case] for table in stored if (table.case == case).any()]
    expected = np.stack([unpacked(row.mask, row.height, row.width) for row in rows.sort_values("slice").itertuples()])
    image = nib.as_closest_canonical(nib.load(tmp_path / "out" / f"{case}_prediction.nii.gz"))
    made = np.asarray(image.dataobj).T
    top, left = ((full - part) // 2 for full, part in zip(made.shape[1:], expected.shape[1:], strict=True))
    assert np.array_equal(made[:, top : top + expected.shape[1], left : left + expected.shape[2]] > 0, expected)


def test_a_case_without_truth_is_segmented_and_not_scored(scans, tmp_path):
    (scans / NEW / f"{NEW}_seg.nii.gz").unlink()
    assert run(scans / NEW, "-o", tmp_path / "out") == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"{NEW}_prediction.nii.gz", "provenance.json"}


def test_the_best_variant_is_the_one_with_the_highest_dice_per_patient(scans, tmp_path, capsys):
    assert run(scans / NEW, "-o", tmp_path / "out") == 0
    dice = defaultdict(list)
    for cell in manifest.read("small")["cells"]:
        dice[cell["label"]].append(ledger.read(cell["id"]).cases.dice.mean())
    assert capsys.readouterr().out.startswith(max(dice, key=lambda label: np.mean(dice[label])))


def without_modality(folder: Path) -> None:
    (folder / f"{NEW}_t2.nii.gz").unlink()


def on_another_grid(folder: Path) -> None:
    path = folder / f"{NEW}_t2.nii.gz"
    nib.save(nib.Nifti1Image(voxels(path)[:-1], nib.load(path).affine), path)


def untouched(_: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("damage", "words", "message"),
    [
        (without_modality, [], f"{NEW}_t2.nii.gz: {NEW}_t2.nii.gz is missing; found"),
        (on_another_grid, [], "differs from that of"),
        (untouched, ["--variant", "aunet"], "'aunet' fits no row with results; expected best or one of: "),
        (untouched, ["--dataset", "lgg"], "has no results under"),
        (shutil.rmtree, [], "no such folder; expected a case of BRATS-like phantom"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(damage, words, message, scans, tmp_path, capsys):
    damage(scans / NEW)
    assert run(scans / case_of(1), scans / NEW, "-o", tmp_path / "out", *words) == cli.BAD_INPUT
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_two_cases_of_one_name_are_refused_and_so_is_a_place_that_cannot_be_written(scans, tmp_path, capsys):
    other = shutil.copytree(scans / NEW, tmp_path / "other" / "HGG" / NEW)
    assert run(scans / NEW, other, "-o", tmp_path / "out") == cli.BAD_INPUT
    assert f"{other}: a case named {NEW}, as in {scans / NEW}; " in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").touch()
    assert run(scans / NEW, "-o", tmp_path / "file") == cli.BAD_INPUT
    assert "file: cannot be written (File exists); free it, or name another folder with -o" in capsys.readouterr().err


def test_a_folder_of_several_cases_is_refused(scans, tmp_path, capsys):
    assert run(scans, "-o", tmp_path / "out") == cli.BAD_INPUT
    assert f"holds {PATIENTS + 1} cases" in capsys.readouterr().err
