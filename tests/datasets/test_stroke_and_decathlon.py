import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pam.data import nifti, scans
from pam.data import store as stores
from pam.data.prepare import prepare
from pam.data.restore import restore
from pam.datasets import DATASETS
from pam.errors import DataError, StudyError

SHAPE = (24, 20, 3)  # x y z


def save(path: Path, voxels: np.ndarray, affine: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(voxels, np.diag([1.0, 1, 5, 1]) if affine is None else affine).to_filename(path)


def noise(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).uniform(1, 100, shape)


def lesion() -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[10:14, 8:12, 1] = 1
    return labels


def write_isles2018(folder: Path, cases: int = 3) -> Path:
    for case in range(1, cases + 1):
        for number, kind in enumerate(("CT_CBF", "CT_MTT", "CT_CBV", "CT_Tmax", "CT", "OT")):
            name = f"SMIR.Brain.XX.O.{kind}.{case}{number}"
            dtype = np.uint16 if kind in ("CT_CBF", "CT_CBV") else np.float64
            voxels = lesion() if kind == "OT" else noise(10 * case + number).astype(dtype)
            save(folder / "TRAINING" / f"case_{case}" / name / f"{name}.nii", voxels)
    return folder


def test_isles_2018_is_prepared_with_its_four_maps(tmp_path: Path):
    store = prepare(DATASETS.build("isles2018"), write_isles2018(tmp_path))
    assert store.modalities == ("CBF", "MTT", "CBV", "Tmax")
    assert store.images.shape == (9, 4, 224, 224)
    assert store.index.target_pixels.tolist() == [0, 16, 0] * 3
    assert store.cases == store.patients == ("case_1", "case_2", "case_3")
    assert "94 cases come from 63 patients" in store.remarks[0]


def test_two_slabs_of_a_patient_are_grouped_by_a_file(tmp_path: Path):
    table = tmp_path / "patients.csv"
    table.write_text("case,patient\ncase_1,a\ncase_2,a\ncase_3,b\n")
    store = prepare(DATASETS.build("isles2018", patients=str(table)), write_isles2018(tmp_path / "source"))
    assert store.patients == ("a", "b")
    assert store.note == ""


@pytest.mark.parametrize(
    ("content", "expected"),
    [("case,patient\ncase_1,a\n", "no row for case_2"), ("a,b\n1,2\n", "columns case and patient")],
)
def test_a_patients_file_that_is_not_whole_is_an_error(tmp_path: Path, content: str, expected: str):
    table = tmp_path / "patients.csv"
    table.write_text(content)
    with pytest.raises(DataError, match=expected):
        DATASETS.build("isles2018", patients=str(table)).find_cases(write_isles2018(tmp_path / "source"))


def test_a_missing_map_is_named(tmp_path: Path):
    write_isles2018(tmp_path)
    next(tmp_path.rglob("*CT_Tmax*.nii")).unlink()
    with pytest.raises(DataError, match=r"CT_Tmax.*is missing"):
        DATASETS.build("isles2018").find_cases(tmp_path)


def test_a_map_that_is_there_twice_is_an_error(tmp_path: Path):
    write_isles2018(tmp_path)
    path = next(tmp_path.rglob("*CT_MTT*.nii"))
    path.with_name("other.nii").write_bytes(path.read_bytes())
    with pytest.raises(DataError, match=r"expected one of them, remove the others"):
        DATASETS.build("isles2018").find_cases(tmp_path)


def write_isles2022(folder: Path) -> Path:
    session = Path("sub-strokecase0001") / "ses-0001"
    for number, name in enumerate(("dwi", "adc")):
        save(folder / "rawdata" / session / f"{session.parent}_{session.name}_{name}.nii.gz", noise(number))
    flair = noise(9, (12, 10, 15))
    save(folder / "rawdata" / session / "x_flair.nii.gz", flair, np.diag([2.0, 2, 1, 1]))
    save(folder / "derivatives" / session / "x_msk.nii.gz", lesion())
    return folder


def test_flair_is_left_out_or_resampled_by_choice(tmp_path: Path):
    write_isles2022(tmp_path)
    without = prepare(DATASETS.build("isles2022"), tmp_path)
    resampled = prepare(DATASETS.build("isles2022", flair="resample"), tmp_path)
    assert without.modalities == ("DWI", "ADC")
    assert resampled.modalities == ("DWI", "ADC", "FLAIR")
    assert np.array_equal(without.images, resampled.images[:, :2])
    assert resampled.patients == ("sub-strokecase0001",)


def test_an_unknown_choice_for_flair_lists_what_there_is():
    with pytest.raises(StudyError, match="expected one of: leave_out, resample"):
        DATASETS.build("isles2022", flair="drop")


def test_resampling_reads_a_linear_field_exactly_on_any_grid(tmp_path: Path):
    x, y, z = np.meshgrid(*(np.arange(length) for length in (12, 10, 15)), indexing="ij")
    affine = np.array([[-2.0, 0, 0, 24], [0, 2, 0, -3], [0, 0, 1, -1], [0, 0, 0, 1]])
    position = (x * 2 * -1 + 24) + 10 * (y * 2 - 3) + 100 * (z - 1.0)  # of the world's x, y and z in mm
    save(tmp_path / "a.nii", position, affine)
    save(
        tmp_path / "grid.nii", np.zeros((4, 5, 3)), np.array([[1.5, 0, 0, 5], [0, 2, 0, 1], [0, 0, 3, 2], [0, 0, 0, 1]])
    )
    resampled = nifti.resample(nifti.read(tmp_path / "a.nii"), nifti.read(tmp_path / "grid.nii")).voxels
    z, y, x = np.meshgrid(*(np.arange(length) for length in (3, 5, 4)), indexing="ij")
    assert np.allclose(resampled, (1.5 * x + 5) + 10 * (2 * y + 1) + 100 * (3 * z + 2), rtol=1e-5)


def test_a_real_isles_2022_case_is_read_on_dwis_grid(shared_data: Path):
    source = shared_data / "isles2022"
    if not source.is_dir():
        pytest.skip(f"no ISLES 2022 at {source}")
    dataset = DATASETS.build("isles2022", flair="resample")
    (case,) = dataset.find_cases(source)
    scan = scans.read(dataset, case)
    assert scan.target.shape == (73, 112, 112)
    assert np.allclose(scan.spacing_mm, 2)
    inside = scan.images[0] != 0
    assert (scan.images[2][inside] > 0).mean() > 0.9  # FLAIR's head lies where DWI's does
    store = prepare(dataset, source)
    image = nib.load(case.target[0])
    back = restore(store, case.case, store.masks[store.rows(case.case)])
    assert np.array_equal(np.asarray(back.dataobj), np.asarray(image.dataobj))
    assert np.array_equal(back.affine, nib.load(case.images[0]).affine)  # the mask differs by rounding


def write_msd(folder: Path, modalities: int = 1) -> Path:
    pairs = []
    for number in range(3):
        pair = {"image": f"./imagesTr/a_{number}.nii.gz", "label": f"./labelsTr/a_{number}.nii.gz"}
        save(folder / pair["image"], noise(number, SHAPE if modalities == 1 else (*SHAPE, modalities)))
        save(folder / pair["label"], lesion() * (1 + number % 2))
        pairs.append(pair)
    about = {
        "name": "Thing",
        "modality": {str(number): f"M{number}" for number in range(modalities)},
        "labels": {"0": "background", "1": "core", "2": "rim"},
        "training": pairs,
    }
    (folder / "dataset.json").write_text(json.dumps(about))
    return folder


@pytest.mark.parametrize("modalities", [1, 3])
def test_a_decathlon_task_is_read_as_its_description_says(tmp_path: Path, modalities: int):
    store = prepare(DATASETS.build("msd"), write_msd(tmp_path, modalities))
    assert (store.title, store.target) == ("MSD Thing", "core and rim")
    assert store.modalities == ("M0", "M1", "M2")[:modalities]
    assert store.images.shape == (9, modalities, 24, 24)
    assert store.index.target_pixels.tolist() == [0, 16, 0] * 3
    back = restore(store, "a_1", store.masks[store.rows("a_1")])
    assert np.array_equal(np.asarray(back.dataobj), lesion())


def test_each_task_is_a_data_set_of_its_own(tmp_path: Path):
    write_msd(tmp_path)
    prepare(DATASETS.build("msd"), tmp_path)
    assert stores.find("msd:task=Thing").dataset == "msd:task=Thing"
    with pytest.raises(DataError, match=r"'msd' is not prepared; .*\(prepared: msd:task=Thing\)"):
        stores.find("msd")
    describe(tmp_path, name="Other  thing!")
    assert prepare(DATASETS.build("msd", target="2"), tmp_path).dataset == "msd:target=2:task=Other_thing"
    assert prepare(DATASETS.build("msd:task=Other_thing"), tmp_path).dataset == "msd:task=Other_thing"
    with pytest.raises(DataError, match=r"dataset.json: task 'Other_thing'; expected 'Thing'"):
        prepare(DATASETS.build("msd:task=Thing"), tmp_path)


def test_one_label_of_a_task_is_the_target(tmp_path: Path):
    store = prepare(DATASETS.build("msd", target="2"), write_msd(tmp_path))
    assert store.target == "rim"
    assert store.index.groupby("case").target_pixels.sum().tolist() == [0, 16, 0]


def describe(folder: Path, **changes: object) -> None:
    path = folder / "dataset.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


MSD_FAULTS = {
    "no JSON": (lambda folder: (folder / "dataset.json").write_text("{"), "cannot be read"),
    "a list": (lambda folder: (folder / "dataset.json").write_text("[]"), "a list; expected"),
    "no modality": (lambda folder: describe(folder, modality=None), "no name, modality or labels"),
    "labels by name": (lambda folder: describe(folder, labels={"core": 1}), "no name, modality or labels"),
    "background alone": (lambda folder: describe(folder, labels={"0": "background"}), "option 'target'"),
    "no training": (lambda folder: describe(folder, training=None), "'training' is no list"),
    "pairs without label": (lambda folder: describe(folder, training=[{"image": "a"}]), "'training' is no list"),
    "a path above": (
        lambda folder: describe(folder, training=[{"image": "../a.nii.gz", "label": "labelsTr/a_1.nii.gz"}]),
        "lists '../a.nii.gz'; expected paths below",
    ),
    "a path from the root": (
        lambda folder: describe(folder, training=[{"image": "imagesTr/a_1.nii.gz", "label": "/etc/passwd"}]),
        "lists '/etc/passwd'; expected paths below",
    ),
    "no image": (lambda folder: (folder / "imagesTr/a_1.nii.gz").unlink(), "a_1.nii.gz: is missing"),
    "two entries": (
        lambda folder: describe(
            folder, training=[{"image": "imagesTr/a_1.nii.gz", "label": "labelsTr/a_1.nii.gz"}] * 2
        ),
        "two cases named 'a_1'",
    ),
    "more modalities than told": (
        lambda folder: describe(folder, modality={"0": "a", "1": "b"}),
        "expected four dimensions, 2 volumes",
    ),
}


@pytest.mark.parametrize("kind", MSD_FAULTS)
def test_a_bad_decathlon_task_is_one_line(tmp_path: Path, kind: str):
    damage, expected = MSD_FAULTS[kind]
    damage(write_msd(tmp_path))
    with pytest.raises((DataError, StudyError), match=expected) as error:
        prepare(DATASETS.build("msd"), tmp_path)
    assert "\n" not in str(error.value)


def test_an_option_that_is_no_label_is_an_error(tmp_path: Path):
    with pytest.raises(StudyError, match="expected 'all' or a label's number"):
        DATASETS.build("msd", target="core")
    with pytest.raises(StudyError, match="has the labels 1, 2"):
        prepare(DATASETS.build("msd", target="7"), write_msd(tmp_path))


def test_the_real_hippocampus_is_prepared_whole(shared_data: Path):
    source = shared_data / "msd" / "Task04_Hippocampus"
    if not source.is_dir():
        pytest.skip(f"no Task04_Hippocampus at {source}")
    store = prepare(DATASETS.build("msd"), source, workers=1)
    assert len(store.patients) == 260
    assert store.title == "MSD Hippocampus" and store.target == "Anterior and Posterior"
    assert (store.index.target_pixels.groupby(store.index.case).sum() > 0).all()
