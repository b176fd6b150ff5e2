from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pam.data import frames, scans
from pam.data.prepare import prepare
from pam.datasets import DATASETS, other_phantoms
from pam.errors import DataError


def write(folder: Path, pixels: np.ndarray, labels: np.ndarray, part: str = "train", city: str = "aachen") -> Path:
    name = f"{city}_000000_000019"
    for kind, ending, content in (("leftImg8bit", "leftImg8bit", pixels), ("gtFine", "gtFine_labelIds", labels)):
        path = folder / kind / part / city / f"{name}_{ending}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(content).save(path)
    return folder


def frame(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (256, 512, 3)).astype(np.uint8)


def test_a_frame_is_shrunk_to_the_mean_of_its_pixels_and_the_majority_of_its_labels(tmp_path: Path):
    labels = np.full((256, 512), 7, np.uint8)
    labels[0:2, 0], labels[2:4, 2], labels[2, 3], labels[4, 4] = 26, 33, 28, 26  # two, three and one of four pixels
    dataset = DATASETS.build("cityscapes")
    (case,) = dataset.find_cases(write(tmp_path, frame(), labels))
    scan = scans.read(dataset, case)
    assert (case.case, case.patient, case.part) == ("aachen_000000_000019", "aachen", "train")
    assert scan.target.shape == (1, 128, 256)
    assert np.argwhere(scan.target).tolist() == [[0, 0, 0], [0, 1, 1]]
    assert scan.images[1][0, 3, 5] == frame()[6:8, 10:12, 1].mean()


def test_train_and_val_cities_are_prepared_together(tmp_path: Path):
    labels = np.full((256, 512), 26, np.uint8)
    write(tmp_path, frame(0), labels)
    store = prepare(DATASETS.build("cityscapes"), write(tmp_path, frame(1), labels, part="val", city="lindau"))
    assert store.patients == ("aachen", "lindau")
    assert store.images.shape == (2, 3, 128, 256)
    assert store.masks.all()


def image_of(folder: Path) -> Path:
    return next(folder.glob("leftImg8bit/*/*/*.png"))


def labels_of(folder: Path) -> Path:
    return next(folder.glob("gtFine/*/*/*.png"))


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no labels": (lambda folder: labels_of(folder).unlink(), "labelIds.png: is missing"),
    "empty frame": (lambda folder: image_of(folder).write_bytes(b""), "zero bytes"),
    "text": (lambda folder: image_of(folder).write_text("x"), "cannot be read as PNG"),
    "truncated": (lambda folder: image_of(folder).write_bytes(image_of(folder).read_bytes()[:999]), "cannot be read"),
    "grey frame": (lambda folder: Image.new("L", (512, 256)).save(image_of(folder)), "mode L; expected RGB"),
    "colour labels": (lambda folder: Image.new("RGB", (512, 256)).save(labels_of(folder)), "mode RGB; expected L"),
    "JPEG": (lambda folder: Image.new("RGB", (512, 256)).save(image_of(folder), "JPEG"), "cannot be read as PNG"),
    "odd size": (lambda folder: Image.new("RGB", (500, 256)).save(image_of(folder)), r"expected a multiple of \(128"),
    "too small": (lambda folder: Image.new("L", (64, 32)).save(labels_of(folder)), "expected a multiple of"),
    "label 40": (lambda folder: Image.new("L", (512, 256), 40).save(labels_of(folder)), r"label values \{0, 40\}"),
    "black frame": (lambda folder: Image.new("RGB", (512, 256)).save(image_of(folder)), "modality red is 0.0 every"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_bad_frame_is_one_line_that_names_it(tmp_path: Path, kind: str):
    damage, expected = FAULTS[kind]
    damage(write(tmp_path, frame(), np.full((256, 512), 26, np.uint8)))
    with pytest.raises(DataError, match=expected) as error:
        prepare(DATASETS.build("cityscapes"), tmp_path)
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_shrinking_by_one_changes_nothing():
    assert np.array_equal(frames.shrink(frame(), (256, 512)), frame())


@pytest.mark.parametrize("name", ["phantom_isles", "phantom_cityscapes"])
def test_a_phantom_writes_its_layout_and_is_prepared(name: str):
    store = prepare(DATASETS.build(name))
    assert store.phantom and "phantom" in store.label
    assert (store.index.target_pixels > 0).mean() > 0.3
    assert 0.01 < store.masks.mean() < 0.5


def test_phantom_trees_are_read_by_the_real_data_sets_layouts(tmp_path: Path):
    other_phantoms.write_isles_tree(tmp_path, cases=2)
    other_phantoms.write_cityscapes_tree(tmp_path, frames=1)
    assert len(DATASETS.build("isles2018").find_cases(tmp_path)) == 2
    cases = DATASETS.build("cityscapes").find_cases(tmp_path)
    assert {case.part for case in cases} == {"train", "val"}
