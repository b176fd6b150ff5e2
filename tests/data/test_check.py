import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from pam import cli
from pam.data import store as stores
from pam.data.check import Checked, check
from pam.data.prepare import prepare
from pam.datasets import DATASETS, phantom
from pam.errors import DataError
from pam.prepare import main

CASE = "Brats18_PHANTOM_002_1"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    phantom.write_tree(folder, patients=3, seed=0, shape=(5, 24, 27))
    return folder


@pytest.fixture
def source(sound: Path, tmp_path: Path) -> Path:
    """A copy of the sound source to change."""
    return shutil.copytree(sound, tmp_path / "source")


def checked(source: Path) -> Checked:
    return check(DATASETS.build("brats2018"), source, workers=1, progress=lambda *_: None)


def path_of(source: Path, ending: str) -> Path:
    return source / "HGG" / CASE / f"{CASE}{ending}.nii.gz"


def voxels_of(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def rewrite(path: Path, voxels: np.ndarray, affine: np.ndarray | None = None) -> None:
    nib.Nifti1Image(voxels, nib.load(path).affine if affine is None else affine).to_filename(path)


def changed(ending: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def damage(source: Path) -> None:
        path = path_of(source, ending)
        rewrite(path, change(voxels_of(path)))

    return damage


def moved(affine: np.ndarray) -> Callable[[Path], None]:
    return lambda source: rewrite(path_of(source, "_t2"), voxels_of(path_of(source, "_t2")), affine)


def written(ending: str, content: bytes) -> Callable[[Path], None]:
    return lambda source: path_of(source, ending).write_bytes(content)


def with_voxel(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(voxels: np.ndarray) -> np.ndarray:
        voxels = voxels.astype(np.float32)
        voxels[13, 12, 2] = value
        return voxels

    return change


def twice(source: Path) -> None:
    shutil.copy(path_of(source, "_t1"), source / "HGG" / CASE / f"{CASE}_t1.nii")


def shortened(ending: str, length: int) -> Callable[[Path], None]:
    return lambda source: path_of(source, ending).write_bytes(path_of(source, ending).read_bytes()[:length])


def header_only(source: Path) -> None:
    content = gzip.decompress(path_of(source, "_t1").read_bytes())[:352]
    path_of(source, "_t1").write_bytes(gzip.compress(content))


AXES = np.diag([-1.0, -1.0, 1.0, 1.0])
AXES[1, 3] = 23
SHIFTED = AXES + np.array([[0, 0, 0, 5], *[[0] * 4] * 3])
DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    **{
        f"no {ending}": (lambda source, ending=ending: path_of(source, ending).unlink(), f"{ending}.nii.gz is missing")
        for ending in ("_t1", "_t2", "_t1ce", "_flair", "_seg")
    },
    **{f"empty file {ending}": (written(ending, b""), "zero bytes") for ending in ("_t1", "_seg")},
    **{f"text {ending}": (written(ending, b"not a scan"), "cannot be read as NIfTI") for ending in ("_t1ce", "_seg")},
    **{f"{ending} cut at {length}": (shortened(ending, length), "cannot be read") for ending, length in
       [("_t1", 20), ("_t2", 200), ("_flair", 900), ("_seg", 100)]},
    "header alone": (header_only, "voxels cannot be read"),
    "modality twice": (twice, "both .*_t1.nii.gz and .*_t1.nii;"),
    "4-D": (changed("_t1", lambda voxels: np.stack([voxels, voxels], -1)), "three dimensions"),
    "2-D": (changed("_t1", lambda voxels: voxels[:, :, 0]), "three dimensions"),
    "fewer slices": (changed("_t1", lambda voxels: voxels[:, :, :4]), "shape .* differs from"),
    "fewer rows": (changed("_flair", lambda voxels: voxels[:, 1:]), "shape .* differs from"),
    "fewer columns of the target": (changed("_seg", lambda voxels: voxels[1:]), "shape .* differs from"),
    "spacing": (moved(np.diag([-1.0, -1, 2, 1])), "spacing, axes or origin differ"),
    "origin": (moved(SHIFTED), "spacing, axes or origin differ"),
    "axes": (moved(np.diag([1.0, -1, 1, 1])), "spacing, axes or origin differ"),
    "NaN": (changed("_t1", with_voxel(np.nan)), "1 voxels are NaN or infinite"),
    "infinite": (changed("_t2", with_voxel(np.inf)), "1 voxels are NaN or infinite"),
    "minus infinite": (changed("_flair", with_voxel(-np.inf)), "1 voxels are NaN or infinite"),
    "NaN in the target": (changed("_seg", with_voxel(np.nan)), "1 voxels are NaN or infinite"),
    "zero": (changed("_t1", np.zeros_like), "modality T1 is zero everywhere"),
    "constant": (changed("_t2", lambda voxels: (voxels > 0) * np.int16(7)), "modality T2 is 7 everywhere"),
    "label 3": (changed("_seg", lambda labels: np.where(labels == 4, 3, labels)), r"label values \{0, 1, 2, 3\}"),
    "half a label": (changed("_seg", lambda labels: labels / np.float32(2)), r"0\.5"),
    "negative label": (changed("_seg", lambda labels: -labels.astype(np.int16)), r"label values \{-4, -2, -1, 0\}"),
    "complex": (changed("_t1", lambda voxels: voxels.astype(np.complex64)), "expected integers or floats"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damage_is_one_error_of_its_case_alone(source: Path, kind: str):
    damage, expected = DAMAGES[kind]
    damage(source)
    table = checked(source).table
    errors = table[table.severity == "error"]
    assert errors.problem.str.contains(expected).any()
    assert set(errors.case) == {CASE}
    assert not errors.problem.str.contains("\n").any()
    with pytest.raises(DataError, match=expected):
        prepare(DATASETS.build("brats2018"), source)


def test_a_sound_source_has_no_problem(source: Path):
    assert checked(source).table.empty


def test_every_problem_of_every_case_is_listed(source: Path):
    for kind in ("no _t1", "NaN in the target", "constant", "minus infinite"):
        DAMAGES[kind][0](source)
    other = path_of(source, "_t1ce").parent.parent / "Brats18_PHANTOM_003_1" / "Brats18_PHANTOM_003_1_t1.nii.gz"
    other.write_bytes(b"")
    table = checked(source).table
    assert len(table) == 5
    assert table.groupby("case").size().to_dict() == {CASE: 4, "Brats18_PHANTOM_003_1": 1}


def test_an_empty_target_is_a_warning(source: Path):
    changed("_seg", np.zeros_like)(source)
    (row,) = checked(source).table.itertuples()
    assert (row.severity, row.case) == ("warning", CASE)
    assert "no voxel of the target (enhancing tumour)" in row.problem


def test_an_extra_modality_is_a_warning(source: Path):
    shutil.copy(path_of(source, "_t1"), source / "HGG" / CASE / f"{CASE}_swi.nii.gz")
    (row,) = checked(source).table.itertuples()
    assert row.severity == "warning" and row.path.endswith("_swi.nii.gz")


def test_a_modality_copied_over_another_is_a_warning(source: Path):
    shutil.copy(path_of(source, "_t1"), path_of(source, "_t2"))
    (row,) = checked(source).table.itertuples()
    assert row.severity == "warning" and "modality T2 equals T1" in row.problem


def copy_case(source: Path, name: str) -> None:
    """The case under another name, of another type and compression, so that no file is equal."""
    for path in (source / "HGG" / CASE).iterdir():
        target = source / "HGG" / name / path.name.replace(CASE, name)
        target.parent.mkdir(exist_ok=True)
        image = nib.load(path)
        voxels = np.asarray(image.dataobj)
        nib.Nifti1Image(voxels.astype(np.float32), image.affine).to_filename(target)


def test_one_scan_under_two_patients_is_an_error_of_both(source: Path):
    copy_case(source, "Brats18_PHANTOM_009_1")
    table = checked(source).table
    assert table.severity.tolist() == ["error"] * 2
    assert set(table.case) == {CASE, "Brats18_PHANTOM_009_1"}
    assert "T1, T2, T1ce, FLAIR equal to case" in table.problem[0]
    with pytest.raises(DataError, match="training and test scans would be one"):
        prepare(DATASETS.build("brats2018"), source)
    left = prepare(DATASETS.build("brats2018"), source, skip_bad=True, workers=1)
    assert left.cases == ("Brats18_PHANTOM_001_1", "Brats18_PHANTOM_003_1")


def test_one_scan_twice_of_one_patient_is_a_warning(source: Path):
    copy_case(source, "Brats18_PHANTOM_002_2")
    assert checked(source).table.severity.tolist() == ["warning"] * 2
    assert len(prepare(DATASETS.build("brats2018"), source).cases) == 4


def test_bad_cases_are_left_out_and_named_by_store_and_index(source: Path):
    whole = prepare(DATASETS.build("brats2018"), source, skip_bad=True, workers=1)
    assert whole.left_out == []
    DAMAGES["NaN"][0](source)
    store = prepare(DATASETS.build("brats2018"), source, skip_bad=True, workers=1)
    assert store.cases == ("Brats18_PHANTOM_001_1", "Brats18_PHANTOM_003_1")
    (left,) = stores.open(store.path).left_out
    assert left["case"] == CASE and "NaN or infinite" in left["errors"][0]
    assert pd.read_parquet(store.path / "index.parquet").attrs["left_out"] == [left]
    assert store.describe()["left_out"] == [CASE]
    assert store.remarks == [f"1 of 3 cases left out for their errors: {CASE}"]
    assert store.path != whole.path


def test_a_source_with_bad_cases_alone_is_an_error(source: Path):
    for path in source.rglob("*_seg.nii.gz"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="each of its 3 cases has errors; see --check"):
        prepare(DATASETS.build("brats2018"), source, skip_bad=True, workers=1)


def run(*arguments: str) -> int:
    """In this process: starting others, which the check of a source does by default, takes seconds."""
    return cli.guarded(main, ("brats2018", *arguments, "--workers", "1"))


def test_the_command_shows_the_table_writes_it_and_ends_with_2(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    DAMAGES["NaN"][0](source)
    DAMAGES["no _t2"][0](source)
    monkeypatch.setenv("COLUMNS", "300")  # a window in which no cell is wrapped
    csv = tmp_path / "problems.csv"
    assert run("--source", str(source), "--check", "--csv", str(csv)) == cli.BAD_INPUT
    output = capsys.readouterr()
    assert "NaN or infinite" in output.out and "_t2.nii.gz is missing" in output.out
    assert "2 errors in 1 of 3 cases" in output.err and output.err.count("\n") == 1
    table = pd.read_csv(csv)
    assert table.columns.tolist() == ["severity", "case", "patient", "path", "problem"]
    assert len(table) == 2


def test_the_command_ends_with_0_on_warnings(source: Path, capsys: pytest.CaptureFixture[str]):
    changed("_seg", np.zeros_like)(source)
    assert run("--source", str(source), "--check") == 0
    assert "3 cases of BRATS 2018 checked: no error, 1 warning" in capsys.readouterr().out
    with pytest.raises(DataError, match="not prepared"):
        stores.find("brats2018")


def test_the_summary_names_what_was_left_out(source: Path, capsys: pytest.CaptureFixture[str]):
    DAMAGES["NaN"][0](source)
    assert run("--source", str(source), "--skip-bad") == 0
    assert f"left out: case {CASE}: " in capsys.readouterr().out


def test_a_check_needs_a_source(capsys: pytest.CaptureFixture[str]):
    assert run("--check") == cli.BAD_INPUT
    assert "--check needs a source folder" in capsys.readouterr().err
