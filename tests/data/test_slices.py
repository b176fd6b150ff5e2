from dataclasses import replace

import numpy as np
import pytest

from pam.data.geometry import centre_crop
from pam.data.scans import Scan
from pam.data.slices import Slices, scales
from pam.data.slices import cut as cut_rows
from pam.datasets import DATASETS, Dataset

BRATS = replace(DATASETS.build("brats2018"), modalities=("T1",))


def scan_of(voxels: list[int], target: list[int] | None = None) -> Scan:
    """One slice of one row."""
    image = np.array(voxels, np.int16).reshape(1, 1, -1)
    return Scan(
        images=(image,),
        target=np.array(target or [0] * len(voxels), bool).reshape(image.shape),
        numbers=(0,),
        spacing_mm=None,
        geometry=None,
    )


def cut(scan: Scan, dataset: Dataset, size: tuple[int, int]) -> Slices:
    """All slices of the scan."""
    crop = centre_crop(scan.target.shape[1:], size)
    return cut_rows(scan, scales(scan, dataset), crop, slice(None))


def test_zero_outside_the_head_does_not_count_and_stays_zero():
    slices = cut(scan_of([0, 0, 1, 3]), BRATS, (1, 4))
    assert slices.images.ravel().tolist() == [0, 0, -1, 1]
    assert slices.brain_pixels.tolist() == [2]


def test_zero_where_it_is_an_intensity_counts():
    slices = cut(scan_of([0, 0, 2, 2]), replace(BRATS, zero_outside=False), (1, 4))
    assert slices.images.ravel().tolist() == [-1, -1, 1, 1]


def test_padding_of_an_intensity_image_is_as_dark_as_its_zero():
    slices = cut(scan_of([0, 2, 0, 2]), replace(BRATS, zero_outside=False), (1, 6))
    assert slices.images.ravel().tolist() == [-1, -1, 1, -1, 1, -1]


def test_normalisation_is_over_the_whole_case_not_the_crop():
    slices = cut(scan_of([1, 3, 1, 3, 9, 9]), BRATS, (1, 2))
    counted = np.array([1, 3, 1, 3, 9, 9])
    expected = (counted - counted.mean()) / counted.std()
    assert slices.images.ravel() == pytest.approx(expected[2:4], abs=1e-3)


def test_the_target_is_cropped_with_the_image():
    assert cut(scan_of([1, 2, 3, 4], [0, 1, 0, 1]), BRATS, (1, 2)).masks.ravel().tolist() == [1, 0]


def test_slices_cut_some_at_a_time_are_those_cut_at_once():
    generator = np.random.default_rng(0)
    images = tuple(generator.normal(size=(7, 12, 9)) for _ in range(2))
    scan = Scan(images=images, target=images[0] > 1, numbers=tuple(range(7)), spacing_mm=None, geometry=None)
    dataset = replace(BRATS, modalities=("T1", "T2"))
    scaled, crop = scales(scan, dataset), centre_crop((12, 9), (8, 16))
    whole = cut(scan, dataset, (8, 16))
    parts = [cut_rows(scan, scaled, crop, slice(first, first + 3)) for first in (0, 3, 6)]
    for field in ("images", "masks", "brain_pixels"):
        assert np.array_equal(np.concatenate([getattr(part, field) for part in parts]), getattr(whole, field))
