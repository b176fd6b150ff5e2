import json
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pam.data import scans
from pam.data import store as stores
from pam.data.prepare import prepare
from pam.data.restore import restore
from pam.data.store import Store
from pam.datasets import DATASETS, Dataset, phantom
from pam.errors import DataError

SHAPE = (5, 24, 27)  # d h w, odd so that a shifted crop would show


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound")
    phantom.write_tree(folder, patients=3, seed=0, shape=SHAPE)
    return folder


@pytest.fixture
def source(sound: Path, tmp_path: Path) -> Path:
    """A copy of the sound source to change."""
    return shutil.copytree(sound, tmp_path / "source")


@pytest.fixture
def dataset() -> Dataset:
    return replace(DATASETS.build("brats2018"), size=(16, 32))  # a crop in rows, padding in columns


def case_file(source: Path, number: int, ending: str) -> Path:
    case = f"Brats18_PHANTOM_{number:03d}_1"
    return source / "HGG" / case / f"{case}{ending}.nii.gz"


def rewrite(path: Path, voxels: np.ndarray) -> None:
    nib.Nifti1Image(voxels, nib.load(path).affine).to_filename(path)


def left_behind(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "prepared").rglob("*") if path.name != ".lock" and path.is_file())


def test_a_store_holds_every_slice_of_every_case_in_order(source: Path, dataset: Dataset):
    store = prepare(dataset, source)
    assert store.images.shape == (15, 4, 16, 32) and store.images.dtype == np.float16
    assert store.masks.shape == (15, 16, 32) and store.masks.dtype == np.uint8
    assert store.index["slice"].tolist() == [*range(5)] * 3
    assert store.index["case"].tolist() == [case for case in store.cases for _ in range(5)]
    assert store.patients == ("Brats18_PHANTOM_001", "Brats18_PHANTOM_002", "Brats18_PHANTOM_003")
    assert store.index.target_pixels.tolist() == store.masks.sum((1, 2)).tolist()
    assert set(np.unique(store.masks)) <= {0, 1}


def test_a_modality_has_mean_0_and_deviation_1_over_its_non_zero_voxels(source: Path, dataset: Dataset):
    store = prepare(replace(dataset, size=(24, 32)), source)
    voxels = nib.load(case_file(source, 2, "_flair")).get_fdata()
    stored = store.images[store.rows("Brats18_PHANTOM_002_1"), 3].astype(float)
    inside = voxels.T[:, ::-1, ::-1] != 0  # the phantom's axes run right to left and front to back
    inside = np.pad(inside, ((0, 0), (0, 0), (3, 2)))
    assert stored[inside].mean() == pytest.approx(0, abs=1e-3)
    assert stored[inside].std() == pytest.approx(1, abs=1e-3)
    assert not stored[~inside].any()


def test_brain_pixels_are_those_in_which_any_modality_is_not_zero(source: Path, dataset: Dataset):
    store = prepare(replace(dataset, size=(24, 32)), source)
    voxels = [nib.load(case_file(source, 1, ending)).get_fdata() for ending in ("_t1", "_t2", "_t1ce", "_flair")]
    assert store.index.brain_pixels[:5].tolist() == np.any(voxels, axis=0).sum((0, 1)).tolist()


def test_the_same_case_in_another_orientation_is_the_same_store(source: Path, dataset: Dataset, tmp_path: Path):
    expected = prepare(dataset, source)
    turned = tmp_path / "turned"
    shutil.copytree(source, turned)
    codes = iter(("RAS", "PIR", "SAL", "LPS", "ARS") * 3)
    for path in sorted(turned.rglob("*.nii.gz")):  # every file of a case in an orientation of its own
        image = nib.load(path)
        target = nib.orientations.axcodes2ornt(next(codes))
        turn = nib.orientations.ornt_transform(nib.io_orientation(image.affine), target)
        image.as_reoriented(turn).to_filename(path)
    store = prepare(dataset, turned)
    assert store.path != expected.path
    assert store.hash == expected.hash
    assert np.array_equal(store.images, expected.images)
    assert np.array_equal(store.masks, expected.masks)


def test_a_prediction_goes_back_into_its_source(source: Path, dataset: Dataset, tmp_path: Path):
    store = prepare(replace(dataset, size=(24, 32)), source)  # wider than the source: nothing is cut off
    for number in (1, 2, 3):
        case = f"Brats18_PHANTOM_{number:03d}_1"
        restore(store, case, store.masks[store.rows(case)]).to_filename(tmp_path / "back.nii.gz")
        back, original = nib.load(tmp_path / "back.nii.gz"), nib.load(case_file(source, number, "_seg"))
        assert np.array_equal(back.affine, original.affine)
        assert np.array_equal(np.asarray(back.dataobj), np.asarray(original.dataobj) == 4)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR", "SAL", "IRP", "ASR"])
def test_an_oblique_anisotropic_source_gets_its_target_back_to_the_bit(
    source: Path, dataset: Dataset, tmp_path: Path, codes: str
):
    """Spacing 0.9 × 1.1 × 4.5 mm, turned by 12° about each axis, then stored in another orientation."""
    turn = np.eye(3)
    for axis in range(3):
        about = np.eye(3)
        others = np.ix_([(axis + 1) % 3, (axis + 2) % 3], [(axis + 1) % 3, (axis + 2) % 3])
        about[others] = [[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]]
        turn = turn @ about
    affine = nib.affines.from_matvec(turn @ np.diag([0.9, 1.1, 4.5]), (-31.7, 12.3, 101.9))
    for path in source.rglob("*.nii.gz"):
        image = nib.Nifti1Image(np.asarray(nib.load(path).dataobj), affine)
        wanted = nib.orientations.axcodes2ornt(codes)
        moved = image.as_reoriented(nib.orientations.ornt_transform(nib.io_orientation(affine), wanted))
        moved.to_filename(path)
    store = prepare(replace(dataset, size=(24, 32)), source)
    assert store.index[["spacing_d", "spacing_h", "spacing_w"]].to_numpy() == pytest.approx(
        np.array([[4.5, 1.1, 0.9]] * 15), rel=1e-5
    )
    case = "Brats18_PHANTOM_002_1"
    original = nib.load(case_file(source, 2, "_seg"))
    assert nib.aff2axcodes(original.affine) == tuple(codes)
    restore(store, case, store.masks[store.rows(case)]).to_filename(tmp_path / "back.nii.gz")
    back = nib.load(tmp_path / "back.nii.gz")
    assert np.array_equal(back.affine, nib.load(case_file(source, 2, "_t1")).affine)
    assert back.shape == original.shape
    assert np.array_equal(np.asarray(back.dataobj), np.asarray(original.dataobj) == 4)


def test_a_mask_of_another_shape_or_case_is_not_restored(source: Path, dataset: Dataset):
    store = prepare(dataset, source)
    with pytest.raises(DataError, match=r"expected \(5, 16, 32\)"):
        restore(store, store.cases[0], np.zeros((5, 16, 16)))
    with pytest.raises(DataError, match="no case 'x'"):
        restore(store, "x", np.zeros((5, 16, 32)))


def test_a_case_without_target_is_stored_with_empty_masks(source: Path, dataset: Dataset):
    rewrite(case_file(source, 1, "_seg"), np.zeros(SHAPE[::-1], np.uint8))
    store = prepare(dataset, source)
    assert store.index.target_pixels[:5].sum() == 0
    assert not store.masks[:5].any()


def test_one_process_and_several_make_the_same_store(source: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch):
    alone = prepare(dataset, source, workers=1)
    content = [(alone.path / name).read_bytes() for name in ("images.npy", "masks.npy", "store.json")]
    shutil.rmtree(alone.path)
    monkeypatch.setattr("pam.data.build.WORTH_A_PROCESS", 1)
    together = prepare(dataset, source, workers=2)
    assert [(together.path / name).read_bytes() for name in ("images.npy", "masks.npy", "store.json")] == content


def test_preparing_again_does_nothing_and_says_so(source: Path, dataset: Dataset):
    said: list[str] = []
    first = prepare(dataset, source, announce=said.append)
    written = (first.path / "store.json").stat().st_mtime_ns
    assert said == []
    second = prepare(dataset, source, announce=said.append)
    assert len(said) == 1 and "nothing to do" in said[0]
    assert second.path == first.path
    assert (second.path / "store.json").stat().st_mtime_ns == written


def test_a_change_of_source_or_setting_makes_a_new_store_and_keeps_the_old(source: Path, dataset: Dataset):
    first = prepare(dataset, source)
    second = prepare(replace(dataset, target_labels=(1, 2, 4)), source)
    voxels = np.asarray(nib.load(case_file(source, 1, "_t1")).dataobj) + 1
    rewrite(case_file(source, 1, "_t1"), voxels)
    third = prepare(dataset, source)
    assert len({store.path for store in (first, second, third)}) == 3
    assert len({store.hash for store in (first, second, third)}) == 3
    assert stores.find("brats2018").path == third.path
    assert stores.open(first.path).hash == first.hash


def test_where_the_source_lies_does_not_matter(source: Path, dataset: Dataset, tmp_path: Path):
    first = prepare(dataset, source)
    elsewhere = tmp_path / "Ünï cödé folder"
    shutil.copytree(source, elsewhere)
    elsewhere.joinpath("HGG").chmod(0o555)
    assert prepare(dataset, elsewhere).path == first.path


def test_a_phantom_makes_its_own_source():
    store = prepare(DATASETS.build("phantom"))
    assert store.phantom and "phantom" in store.label
    assert len(store.patients) == 20
    assert stores.find("phantom").hash == store.hash
    with_target = (store.index.target_pixels > 0).mean()
    assert 0.2 < with_target < 0.8
    assert sorted(path.name for path in store.path.parent.iterdir()) == sorted([".lock", "latest", store.path.name])


def test_a_data_set_without_source_says_what_to_give():
    with pytest.raises(DataError, match=r"needs a source folder \(--source DIR\); expected HGG/"):
        prepare(DATASETS.build("brats2018"))


def test_a_data_set_that_is_not_prepared_says_the_command():
    with pytest.raises(DataError, match=r"run: python -m pam.prepare brats2018 --source DIR"):
        stores.find("brats2018")


def break_source(kind: str, source: Path) -> None:  # noqa: C901  # a list of damages
    seg, t1 = case_file(source, 2, "_seg"), case_file(source, 2, "_t1")
    labels, voxels = np.asarray(nib.load(seg).dataobj), np.asarray(nib.load(t1).dataobj)
    match kind:
        case "missing modality":
            t1.unlink()
        case "truncated":
            t1.write_bytes(t1.read_bytes()[:-400])
        case "empty file":
            t1.write_bytes(b"")
        case "labels":
            rewrite(seg, np.where(labels == 4, 3, labels).astype(np.uint8))
        case "half a label":
            rewrite(seg, labels * np.float32(0.5))
        case "shapes":
            rewrite(t1, voxels[:, :, :4])
        case "spacing":
            nib.Nifti1Image(voxels, np.diag([-1, -1, 2, 1])).to_filename(t1)
        case "NaN":
            rewrite(t1, np.where(voxels == voxels.max(), np.nan, voxels).astype(np.float32))
        case "zero":
            rewrite(t1, voxels * 0)
        case "constant":
            rewrite(t1, (voxels > 0) * np.int16(7))


BAD = {
    "missing modality": "_t1.nii.gz is missing",
    "truncated": "truncated",
    "empty file": "zero bytes",
    "labels": r"label values \{0, 1, 2, 3\}, expected a subset of \{0, 1, 2, 4\}; is this the raw",
    "half a label": "0.5",
    "shapes": r"shape \(27, 24, 4\) differs from that of .*_seg.nii.gz, \(27, 24, 5\)",
    "spacing": "spacing, axes or origin differ",
    "NaN": "voxels are NaN or infinite",
    "zero": "modality T1 is zero everywhere",
    "constant": "modality T1 is 7 everywhere",
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_source_is_one_line_that_names_the_case_and_leaves_nothing(
    source: Path, dataset: Dataset, pam_home: Path, kind: str
):
    break_source(kind, source)
    with pytest.raises(DataError, match=BAD[kind]) as error:
        prepare(dataset, source)
    assert "Brats18_PHANTOM_002_1" in str(error.value)
    assert "\n" not in str(error.value)
    assert left_behind(pam_home) == []
    with pytest.raises(DataError, match="not prepared"):
        stores.find("brats2018")


def test_a_bad_source_leaves_the_earlier_store_in_place(source: Path, dataset: Dataset):
    earlier = prepare(dataset, source)
    break_source("labels", source)
    with pytest.raises(DataError):
        prepare(dataset, source)
    assert stores.find("brats2018").path == earlier.path


def test_a_killed_prepare_leaves_no_store_and_the_next_one_goes_on(tmp_path: Path, pam_home: Path):
    phantom.write_tree(tmp_path, patients=12, shape=(24, 96, 96))
    command = [sys.executable, "-m", "pam.prepare", "brats2018", "--source", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    folder = pam_home / "prepared" / "brats2018"
    deadline = time.monotonic() + 60
    while not list(folder.glob(".partial-*/done/*.json")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert list(folder.glob(".partial-*"))
    with pytest.raises(DataError, match="not prepared"):
        stores.find("brats2018")
    (first, *_) = folder.glob(".partial-*/done/*.json")
    about = json.loads(first.read_text())
    store = prepare(DATASETS.build("brats2018"), tmp_path, workers=1)
    assert not list(folder.glob(".partial-*")) and not (store.path / "done").exists()
    assert about in json.loads((store.path / "store.json").read_text())["cases"].values()
    assert len(store.patients) == 12
    shutil.rmtree(store.path)
    assert prepare(DATASETS.build("brats2018"), tmp_path, workers=1).hash == store.hash


def interrupt(dataset: Dataset, source: Path, after: int) -> None:
    def progress(what: str, done: int, total: int) -> None:
        if what == "storing" and done == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(dataset, source, workers=1, progress=progress)


def test_cases_stored_before_an_interrupt_are_not_read_again(
    source: Path, dataset: Dataset, pam_home: Path, monkeypatch: pytest.MonkeyPatch
):
    expected = prepare(dataset, source)
    content = [(expected.path / name).read_bytes() for name in ("images.npy", "masks.npy", "store.json")]
    shutil.rmtree(expected.path)
    interrupt(dataset, source, after=2)
    read: list[str] = []
    original = scans.read
    monkeypatch.setattr(scans, "read", lambda data, case: read.append(case.case) or original(data, case))
    store = prepare(dataset, source, workers=1)
    assert read == ["Brats18_PHANTOM_003_1"]
    assert [(store.path / name).read_bytes() for name in ("images.npy", "masks.npy", "store.json")] == content


def test_a_case_whose_slices_did_not_reach_the_disk_is_stored_again(source: Path, dataset: Dataset, pam_home: Path):
    expected = prepare(dataset, source).hash
    shutil.rmtree(stores.find("brats2018").path)
    interrupt(dataset, source, after=2)
    (images,) = pam_home.glob("prepared/brats2018/.partial-*/images.npy")
    damaged = np.load(images, mmap_mode="r+")
    damaged[0] = 0
    damaged.flush()
    store = prepare(dataset, source, workers=1)
    assert store.hash == expected and store.images[0].any()


def test_what_was_left_of_other_sources_is_removed(source: Path, dataset: Dataset, pam_home: Path):
    interrupt(dataset, source, after=1)
    prepare(replace(dataset, target_labels=(1, 2, 4)), source)
    assert not list(pam_home.glob("prepared/brats2018/.partial-*"))


def _prepare_phantom(_: int) -> str:
    return str(prepare(DATASETS.build("phantom")).path)


def test_processes_that_prepare_the_same_set_share_one_store():
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert len(set(pool.map(_prepare_phantom, range(3), chunksize=1))) == 1


def test_a_store_travels_as_its_path(source: Path, dataset: Dataset):
    store = prepare(dataset, source)
    _ = store.images, store.masks, store.index
    travelled: Store = pickle.loads(pickle.dumps(store))
    assert len(pickle.dumps(store)) < 1000
    assert travelled.hash == store.hash


def test_a_stores_folds_are_kept_beside_it_and_checked(source: Path, dataset: Dataset):
    store = prepare(dataset, source)
    splits = store.folds(3)
    path = store.path / "folds-3.json"
    assert store.folds(3) == splits
    assert [entry["hash"] for entry in json.loads(path.read_text())["splits"]] == [split.hash for split in splits]
    path.write_text(path.read_text().replace("PHANTOM_001", "PHANTOM_009"))
    with pytest.raises(DataError, match=r"folds-3.json: .*delete the file"):
        store.folds(3)


def test_more_folds_than_patients_is_an_error(source: Path, dataset: Dataset):
    with pytest.raises(DataError, match="3 patients for 5 folds"):
        prepare(dataset, source).folds(5)


@pytest.mark.parametrize("damage", ["images.npy", "masks.npy", "store.json"])
def test_a_store_that_is_not_whole_is_not_opened(source: Path, dataset: Dataset, damage: str):
    store = prepare(dataset, source)
    path = store.path / damage
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="prepare the data set again"):
        stores.open(store.path)


def test_too_little_space_is_told_before_work(
    source: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, pam_home: Path
):
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(DataError, match=r"needed, 0\.0 GB free; set PAM_HOME"):
        prepare(dataset, source)
    assert left_behind(pam_home) == []


def test_what_a_killed_build_has_written_is_not_asked_for_again(
    source: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
):
    interrupt(dataset, source, after=2)  # two of three cases are on the disk
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 0, 60_000))
    assert len(prepare(dataset, source, workers=1).cases) == 3


def test_the_loss_by_float16_is_told(source: Path, dataset: Dataset):
    store = prepare(dataset, source)
    assert 0 < store.float16_loss < 0.001
    assert np.abs(store.images).max() <= store.largest < 20
