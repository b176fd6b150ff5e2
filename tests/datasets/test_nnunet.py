"""nnU-Net's raw layout is read as its dataset.json says, and a new case as networks were trained."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pam.data import new_case
from pam.data.prepare import prepare
from pam.datasets import DATASETS
from pam.errors import DataError, StudyError

SHAPE = (24, 20, 3)  # x y z
CHANNELS = ("T2", "ADC")


def save(path: Path, voxels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.Nifti1Image(voxels, np.diag([1.0, 1, 5, 1])).to_filename(path)


def mask() -> np.ndarray:
    labels = np.zeros(SHAPE, np.uint8)
    labels[10:14, 8:12, 1], labels[10:12, 8:10, 1] = 1, 2
    return labels


def write(parent: Path, **changes: object) -> Path:
    folder = parent / "Dataset007_Prostate"
    for number in range(4):
        part = "Tr" if number < 3 else "Ts"
        for channel in range(2):
            voxels = np.random.default_rng([number, channel]).uniform(1, 100, SHAPE)
            save(folder / f"images{part}" / f"p_{number}_000{channel}.nii.gz", voxels)
        save(folder / f"labels{part}" / f"p_{number}.nii.gz", mask())
    about = {
        "channel_names": dict(enumerate(CHANNELS)),
        "labels": {"background": 0, "gland": 1, "lesion": 2},
        "numTraining": 3,
        "file_ending": ".nii.gz",
    }
    (folder / "dataset.json").write_text(json.dumps({**about, **changes}))
    return folder


def test_a_raw_data_set_is_prepared_without_code(tmp_path):
    store = prepare(DATASETS.build("nnunet"), write(tmp_path))
    assert (store.dataset, store.title, store.target) == (
        "nnunet:task=Prostate",
        "nnU-Net Prostate",
        "gland and lesion",
    )
    assert (store.modalities, store.cases) == (CHANNELS, ("p_0", "p_1", "p_2"))
    assert store.index.target_pixels.tolist() == [0, 16, 0] * 3
    assert "each case counts as a patient" in store.note


@pytest.mark.parametrize(
    ("labels", "target", "words", "pixels"),
    [
        ({"background": 0, "gland": 1, "lesion": 2}, "2", "lesion", 4),
        ({"background": 0, "whole": [1, 2], "lesion": [2]}, "all", "whole", 16),
        ({"background": 0, "whole": [1, 2], "lesion": [2]}, "1+2", "whole", 16),
    ],
)
def test_labels_and_regions_are_targets_by_their_numbers(labels, target, words, pixels, tmp_path):
    store = prepare(DATASETS.build("nnunet", target=target), write(tmp_path, labels=labels))
    assert (store.target, store.index.target_pixels.max()) == (words, pixels)


def test_cases_that_the_description_lists_lie_where_it_says(tmp_path):
    listed = {
        "one": {"images": ["imagesTr/p_0_0000.nii.gz", "imagesTs/p_3_0001.nii.gz"], "label": "labelsTr/p_1.nii.gz"}
    }
    [case] = DATASETS.build("nnunet").find_cases(write(tmp_path, dataset=listed))
    assert case.case == "one"
    assert [path.name for path in case.files] == ["p_0_0000.nii.gz", "p_3_0001.nii.gz", "p_1.nii.gz"]


def test_scans_of_one_patient_are_grouped_by_a_file(tmp_path):
    (tmp_path / "who.csv").write_text("case,patient\np_0,a\np_1,a\np_2,b\n")
    store = prepare(DATASETS.build("nnunet", patients=str(tmp_path / "who.csv")), write(tmp_path))
    assert (store.patients, store.note) == (("a", "b"), "")


def unlink(name: str):
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("changes", "damage", "message"),
    [
        ({}, unlink("imagesTr/p_1_0001.nii.gz"), "p_1_0001.nii.gz: is missing"),
        ({}, unlink("labelsTr/p_1.nii.gz"), "labelsTr/p_1.nii.gz: is missing"),
        ({"channel_names": None, "modality": {"0": "T2"}}, None, "version 1 calls it 'modality'"),
        ({"channel_names": {"0": "T2", "1": "T2"}}, None, "expected names that differ"),
        ({"labels": {"0": "background"}}, None, "field 'labels' is not name → number"),
        ({"labels": {"background": 0, "lesion": 1, "ignore": 2}}, None, "has the label 'ignore'"),
        ({"file_ending": ".png"}, None, "file_ending is '.png'; expected .nii.gz or .nii"),
        ({"dataset": {"a": {"images": ["../x.nii.gz", "y"], "label": "z"}}}, None, "expected paths below"),
        ({"dataset": {"a": {"images": ["x.nii.gz"], "label": "z"}}}, None, "lists 1 images; expected 2 channels"),
    ],
)
def test_a_bad_data_set_is_one_line(changes, damage, message, tmp_path):
    folder = write(tmp_path, **changes)
    if damage:
        damage(folder)
    with pytest.raises(DataError) as error:
        prepare(DATASETS.build("nnunet"), folder)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("target", ["lesion", "7", "0"])
def test_a_target_that_is_no_label_is_an_error(target, tmp_path):
    with pytest.raises(StudyError, match="option 'target'"):
        prepare(DATASETS.build("nnunet", target=target), write(tmp_path))


def read(path: Path, modalities: tuple[str, ...] = CHANNELS, name: str = "nnunet:task=Prostate"):
    return new_case.read(DATASETS.build(name), path, (24, 24), modalities)


def test_a_new_case_is_named_by_one_of_its_files_and_has_its_truth(tmp_path):
    new = read(write(tmp_path) / "imagesTs" / "p_3_0001.nii.gz")
    assert (new.case.case, new.images.shape, new.has_truth) == ("p_3", (3, 2, 24, 24), True)
    assert np.array_equal(new.scan.target.T, mask() > 0)


def test_a_new_case_needs_no_description_beside_it(tmp_path):
    folder = write(tmp_path)
    (folder / "dataset.json").unlink()
    new = read(folder / "imagesTs" / "p_3_0000.nii.gz")
    assert (new.case.case, new.has_truth) == ("p_3", False)


@pytest.mark.parametrize(
    ("name", "modalities", "message"),
    [
        ("imagesTs/p_3_0000.nii.gz", ("T2", "DWI"), "has the modalities T2, ADC; expected T2, DWI"),
        ("labelsTs/p_3.nii.gz", CHANNELS, "such as CASE_0000.nii.gz"),
        ("imagesTs", CHANNELS, "no case of"),
        ("imagesTr", CHANNELS, "holds 3 cases (p_0, p_1, p_2); expected one case's folder, or an image file"),
    ],
)
def test_what_is_no_case_of_the_networks_is_one_line(name, modalities, message, tmp_path):
    with pytest.raises(DataError) as error:
        read(write(tmp_path) / name, modalities)
    assert message in str(error.value)


def test_a_lacking_channel_of_a_new_case_is_named(tmp_path):
    folder = write(tmp_path)
    (folder / "imagesTs" / "p_3_0001.nii.gz").unlink()
    with pytest.raises(DataError, match=r"p_3_0001.nii.gz: is missing"):
        read(folder / "imagesTs" / "p_3_0000.nii.gz")


@pytest.mark.parametrize("modalities", [("M0",), ("M0", "M1", "M2")])
def test_a_new_case_of_the_decathlon_is_its_image_file(modalities, tmp_path):
    path = tmp_path / "imagesTs" / "a_1.nii.gz"
    shape = SHAPE if len(modalities) == 1 else (*SHAPE, len(modalities))
    save(path, np.random.default_rng(0).uniform(1, 100, shape))
    new = read(path, modalities, "msd:task=Thing")
    assert (new.case.case, new.images.shape, new.has_truth) == ("a_1", (3, len(modalities), 24, 24), False)
