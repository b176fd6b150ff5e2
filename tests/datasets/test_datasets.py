import pickle
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from pam.data import scans
from pam.datasets import DATASETS, phantom
from pam.errors import DataError, StudyError


def tree(folder: Path, case: str, files: list[str]) -> None:
    """A case folder in which files exist and nothing more."""
    path = folder / case
    path.mkdir(parents=True)
    for file in files:
        (path / f"{Path(case).name}{file}").touch()


YEARS = {
    "brats2018": ("HGG/Brats18_TCIA01_131_1", "Brats18_TCIA01_131", ["_t1", "_t2", "_t1ce", "_flair", "_seg"]),
    "brats2020": ("BraTS20_Training_001", "BraTS20_Training_001", ["_t1", "_t2", "_t1ce", "_flair", "_seg"]),
    "brats2021": ("BraTS2021_00006", "BraTS2021_00006", ["_t1", "_t2", "_t1ce", "_flair", "_seg"]),
    "brats2023": ("BraTS-GLI-00001-000", "BraTS-GLI-00001", ["-t1n", "-t2w", "-t1c", "-t2f", "-seg"]),
}


@pytest.mark.parametrize("name", DATASETS.names())
def test_every_data_set_says_what_it_is_and_travels_to_other_processes(name: str):
    dataset = DATASETS.build(name)
    assert dataset.name == name
    assert set(dataset.target_labels) < set(dataset.labels)
    assert all((dataset.title, dataset.target, dataset.expects, dataset.modalities))
    assert pickle.loads(pickle.dumps(dataset)).preparation() == dataset.preparation()
    assert dataset.size is None or all(length % 8 == 0 for length in dataset.size)
    assert dataset.phantom == name.startswith("phantom")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
@pytest.mark.parametrize("year", YEARS)
def test_each_years_layout_is_found(tmp_path: Path, year: str, suffix: str):
    folder, patient, endings = YEARS[year]
    tree(tmp_path, folder, [ending + suffix for ending in endings])
    (tmp_path / "survival.csv").touch()
    (case,) = DATASETS.build(year).find_cases(tmp_path)
    assert (case.case, case.patient) == (Path(folder).name, patient)
    assert [path.name for path in case.files] == [case.case + ending + suffix for ending in endings]


def test_two_scans_of_a_patient_are_two_cases_of_one_patient(tmp_path: Path):
    for case in ("BraTS-GLI-00001-000", "BraTS-GLI-00001-001"):
        tree(tmp_path, case, [ending + ".nii.gz" for ending in YEARS["brats2023"][2]])
    cases = DATASETS.build("brats2023").find_cases(tmp_path)
    assert [case.patient for case in cases] == ["BraTS-GLI-00001"] * 2


@pytest.mark.parametrize(("grade", "count"), [("HGG", 1), ("LGG", 1), ("all", 2)])
def test_the_grade_of_2018_is_chosen(tmp_path: Path, grade: str, count: int):
    for number, name in enumerate(("HGG", "LGG")):
        tree(tmp_path, f"{name}/Brats18_A_{number}_1", [e + ".nii.gz" for e in YEARS["brats2018"][2]])
    assert len(DATASETS.build("brats2018", grade=grade).find_cases(tmp_path)) == count


@pytest.mark.parametrize(
    ("name", "target", "labels"),
    [
        ("brats2018", "et", {4}),
        ("brats2020", "tc", {1, 4}),
        ("brats2021", "wt", {1, 2, 4}),
        ("brats2023", "et", {3}),
        ("brats2023", "tc", {1, 3}),
        ("brats2023", "wt", {1, 2, 3}),
    ],
)
def test_targets_are_made_of_their_years_labels(name: str, target: str, labels: set[int]):
    assert set(DATASETS.build(name, target=target).target_labels) == labels


@pytest.mark.parametrize(("option", "value"), [("target", "edema"), ("grade", "IV")])
def test_an_unknown_option_value_lists_what_there_is(option: str, value: str):
    with pytest.raises(StudyError, match=f"{option}.*'{value}'; expected one of"):
        DATASETS.build("brats2018", **{option: value})


def test_an_unknown_data_set_lists_what_there_is():
    with pytest.raises(StudyError, match="unknown data set 'brats'; there are: brats2018"):
        DATASETS.build("brats")


def test_the_papers_recipe_is_that_of_brats_2018():
    recipe = DATASETS.build("brats2018").recipe
    assert (recipe.epochs, recipe.batch_size, recipe.learning_rate) == (80, 50, 1e-4)


def test_a_missing_modality_is_named_with_what_there_is(tmp_path: Path):
    tree(tmp_path, "BraTS2021_00006", ["_t1.nii.gz", "_t1ce.nii.gz", "_flair.nii.gz", "_seg.nii.gz"])
    with pytest.raises(DataError, match=r"BraTS2021_00006_t2.nii.gz is missing; found .*_flair.nii.gz"):
        DATASETS.build("brats2021").find_cases(tmp_path)


def test_a_file_that_is_there_twice_is_an_error(tmp_path: Path):
    tree(tmp_path, "BraTS2021_00006", [e + ".nii.gz" for e in YEARS["brats2021"][2]] + ["_t1.nii"])
    with pytest.raises(DataError, match="both"):
        DATASETS.build("brats2021").find_cases(tmp_path)


@pytest.mark.parametrize("name", DATASETS.names())
def test_a_folder_without_cases_says_what_was_expected(tmp_path: Path, name: str):
    (tmp_path / "other").mkdir()
    with pytest.raises(DataError, match=r"no case of .* found; expected"):
        DATASETS.build(name).find_cases(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        DATASETS.build(name).find_cases(tmp_path / "absent")


def write_lgg(folder: Path, patient: str, numbers: list[int], size: int = 16) -> Path:
    path = folder / f"{patient}_19960909"
    path.mkdir(parents=True)
    generator = np.random.default_rng(len(patient) + len(numbers))
    for number in numbers:
        pixels = generator.integers(1, 255, (size, size, 3)).astype(np.uint8)
        mask = np.zeros((size, size), np.uint8)
        mask[:number, :2] = 255
        Image.fromarray(pixels).save(path / f"{path.name}_{number}.tif")
        Image.fromarray(mask).save(path / f"{path.name}_{number}_mask.tif")
    return path


def test_slices_are_in_numeric_order_and_keep_their_numbers_across_gaps(tmp_path: Path):
    write_lgg(tmp_path, "TCGA_CS_4941", [10, 2, 1])
    dataset = DATASETS.build("lgg")
    (case,) = dataset.find_cases(tmp_path)
    scan = scans.read(dataset, case)
    assert case.patient == "TCGA_CS_4941"
    assert scan.numbers == (1, 2, 10)
    assert scan.target.sum((1, 2)).tolist() == [2, 4, 20]
    assert scan.spacing_mm is None
    assert len(scan.images) == 3 and scan.images[0].shape == (3, 16, 16)


def test_shrunk_slices_are_means_and_target_where_half_of_the_pixels_are(tmp_path: Path):
    folder = write_lgg(tmp_path, "TCGA_CS_4941", [1, 3])
    (case,) = DATASETS.build("lgg").find_cases(tmp_path)
    whole, shrunk = (scans.read(DATASETS.build("lgg", shrink=factor), case) for factor in ("1", "4"))
    for before, after in zip(whole.images, shrunk.images, strict=True):
        expected = [[p[y : y + 4, x : x + 4].mean() for x in range(0, 16, 4)] for y in range(0, 16, 4) for p in before]
        assert np.allclose(after.transpose(1, 0, 2).reshape(-1, 4), expected, rtol=1e-6)
    assert shrunk.target.sum((1, 2)).tolist() == [0, 0]  # 2 and 6 of the 16 pixels of one corner
    target = folder / f"{folder.name}_3_mask.tif"
    Image.fromarray(np.pad(np.full((4, 2), 255, np.uint8), ((0, 12), (0, 14)))).save(target)  # now 8 of 16
    assert scans.read(DATASETS.build("lgg", shrink="4"), case).target.sum((1, 2)).tolist() == [0, 1]
    without = replace(case, target=())
    assert scans.read(DATASETS.build("lgg", shrink="4"), without).images[0].shape == (2, 4, 4)


def test_slices_that_cannot_be_shrunk_evenly_are_one_line(tmp_path: Path):
    folder = write_lgg(tmp_path, "TCGA_CS_4941", [1, 2], size=18)
    dataset = DATASETS.build("lgg", shrink="4")
    with pytest.raises(DataError, match=r"_1.tif: \(18, 18\) pixels .*expected a multiple of") as error:
        scans.read(dataset, *dataset.find_cases(tmp_path))
    assert str(folder) in str(error.value)


def test_shrinking_makes_another_store_and_none_leaves_the_key_as_it_was():
    assert "shrink" not in DATASETS.build("lgg").preparation()
    assert DATASETS.build("lgg", shrink="2").preparation() == {**DATASETS.build("lgg").preparation(), "shrink": 2}
    assert DATASETS.build("lgg", shrink="2").name == "lgg:shrink=2"


def read_lgg(folder: Path) -> list[scans.Scan]:
    dataset = DATASETS.build("lgg")
    return [scans.read(dataset, case) for case in dataset.find_cases(folder)]


def break_lgg(kind: str, folder: Path) -> None:  # noqa: C901  # a list of damages
    image, mask = folder / f"{folder.name}_2.tif", folder / f"{folder.name}_2_mask.tif"
    match kind:
        case "no mask":
            mask.unlink()
        case "no slice":
            image.unlink()
        case "no number":
            image.rename(folder / f"{folder.name}_two.tif")
        case "empty file":
            image.write_bytes(b"")
        case "truncated":
            image.write_bytes(image.read_bytes()[:200])
        case "no TIFF":
            image.write_bytes(b"not a TIFF")
        case "colour mask":
            Image.new("RGB", (16, 16)).save(mask)
        case "grey slice":
            Image.new("L", (16, 16)).save(image)
        case "grey mask":
            Image.new("L", (16, 16), 17).save(mask)
        case "other size":
            Image.new("RGB", (8, 16)).save(image)
        case "other mask size":
            for path in folder.glob("*_mask.tif"):
                Image.new("L", (8, 16)).save(path)


@pytest.mark.parametrize(
    ("kind", "expected"),
    {
        "no mask": "its mask .*_2_mask.tif is missing",
        "no slice": "a mask without its slice",
        "no number": "no slice number",
        "empty file": "zero bytes",
        "truncated": "cannot be read as TIFF",
        "no TIFF": "cannot be read as TIFF",
        "colour mask": "mode RGB; expected 1 × 8 bits",
        "grey slice": "mode L; expected 3 × 8 bits",
        "grey mask": r"label values \{0, 17\}, expected a subset of \{0, 255\}",
        "other size": "expected one size per case",
        "other mask size": "expected the same",
    }.items(),
)
def test_a_bad_tiff_case_is_one_line_that_names_it(tmp_path: Path, kind: str, expected: str):
    folder = write_lgg(tmp_path, "TCGA_CS_4941", [1, 2, 3])
    break_lgg(kind, folder)
    with pytest.raises(DataError, match=expected) as error:
        read_lgg(tmp_path)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_phantom_tree_looks_like_brats_2018(tmp_path: Path):
    phantom.write_tree(tmp_path, patients=2, seed=0, shape=(6, 32, 40))
    (case, _) = DATASETS.build("brats2018").find_cases(tmp_path)
    assert case.case == "Brats18_PHANTOM_001_1"
    image, labels = nib.load(case.images[0]), nib.load(case.target[0])
    assert nib.aff2axcodes(image.affine) == ("L", "P", "S")
    assert image.shape == labels.shape == (40, 32, 6)
    assert nib.affines.voxel_sizes(image.affine).tolist() == [1, 1, 1]
    assert image.get_data_dtype() == np.int16
    assert set(np.unique(np.asarray(labels.dataobj))) == {0, 1, 2, 4}


def test_a_phantom_is_a_function_of_its_seed(tmp_path: Path):
    for name, seed, patients in (("a", 0, 1), ("b", 0, 2), ("c", 1, 1)):
        phantom.write_tree(tmp_path / name, patients=patients, seed=seed)
    path = "HGG/Brats18_PHANTOM_001_1/Brats18_PHANTOM_001_1_flair.nii.gz"
    contents = [(tmp_path / name / path).read_bytes() for name in "abc"]
    assert contents[0] == contents[1] != contents[2]


def test_phantom_tumours_have_partial_volume_borders():
    grid = phantom._grid((12, 64, 64))
    _, rim, core = phantom._tumour(np.random.default_rng(0), grid)
    assert ((rim > 0.1) & (rim < 0.9)).sum() > 20
    assert (core <= rim + 1e-9).all()
