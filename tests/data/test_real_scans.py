"""Real scans through the whole of the data's way; skipped where there are none."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pam.data import scans
from pam.data.prepare import prepare
from pam.data.restore import restore
from pam.data.store import Store, find
from pam.datasets import DATASETS

CASE = "BraTS2021_00006"


@pytest.fixture(scope="module")
def brats(shared_data: Path) -> Path:
    path = shared_data / "brats2021"
    if not (path / CASE).is_dir():
        pytest.skip(f"no {CASE} at {path}")
    return path


@pytest.fixture(scope="module")
def cropped(brats: Path, _shared_home: None) -> Store:
    """The case, prepared as the paper does."""
    return prepare(DATASETS.build("brats2021"), brats)


@pytest.fixture
def lgg(shared_data: Path) -> Path:
    path = shared_data / "lgg_mri" / "kaggle_3m"
    if not path.is_dir():
        pytest.skip(f"no TCGA LGG at {path}")
    return path


@pytest.mark.parametrize(("target", "labels"), [("et", [4]), ("tc", [1, 4]), ("wt", [1, 2, 4])])
def test_voxels_of_each_target_are_as_many_as_nibabel_counts(brats: Path, target: str, labels: list[int]):
    dataset = DATASETS.build("brats2021", target=target)
    (case,) = dataset.find_cases(brats)
    scan = scans.read(dataset, case)
    raw = np.asarray(nib.load(case.target[0]).dataobj)
    assert scan.target.sum() == np.isin(raw, labels).sum()
    assert scan.spacing_mm == (1, 1, 1)


def test_a_real_case_lies_as_nibabels_canonical_orientation_says(brats: Path):
    dataset = DATASETS.build("brats2021")
    (case,) = dataset.find_cases(brats)
    scan = scans.read(dataset, case)
    for path, voxels in zip(case.images, scan.images, strict=True):
        canonical = nib.as_closest_canonical(nib.load(path))
        assert nib.aff2axcodes(canonical.affine) == ("R", "A", "S")
        assert np.array_equal(voxels, np.asarray(canonical.dataobj).T)


def test_the_stored_target_goes_back_voxel_for_voxel(brats: Path):
    store = prepare(replace(DATASETS.build("brats2021"), size=(240, 240)), brats)
    raw = nib.load(brats / CASE / f"{CASE}_seg.nii.gz")
    enhancing = np.asarray(raw.dataobj) == 4
    restored = restore(store, CASE, store.masks[store.rows(CASE)])
    assert np.array_equal(restored.affine, raw.affine)
    assert restored.shape == raw.shape
    assert np.array_equal(np.asarray(restored.dataobj), enhancing)


def test_what_the_papers_crop_cuts_off_a_real_tumour_is_counted(brats: Path, cropped: Store):
    whole = int((np.asarray(nib.load(brats / CASE / f"{CASE}_seg.nii.gz").dataobj) == 4).sum())
    assert cropped.target_cut == whole - cropped.index.target_pixels.sum() == 38


def test_float16_loses_less_than_a_thousandth_of_a_real_scan(brats: Path, cropped: Store):
    voxels = nib.as_closest_canonical(nib.load(brats / CASE / f"{CASE}_t1ce.nii.gz")).get_fdata().T
    inside = voxels != 0
    exact = np.where(inside, (voxels - voxels[inside].mean()) / voxels[inside].std(), 0)[:, 40:200, 40:200]
    assert np.allclose(cropped.images[:, 2], exact, rtol=1e-3, atol=1e-5)


def test_lgg_is_prepared_whole_within_a_gigabyte(lgg: Path):
    command = [sys.executable, "-m", "pam.prepare", "lgg", "--source", str(lgg)]  # a process of its own tells its peak
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(re.search(r"peak memory (\d+) MB per process", ran.stdout)[1]) < 1000
    store = find("lgg")
    assert len(store.patients) == len(store.cases) == 110
    assert len(store.index) == len(store.images) == 2252
    assert (store.index.target_pixels > 0).sum() == 1373
    assert store.index.spacing_d.isna().all()
    assert {len(split.test) for split in store.folds(5)} == {22}
