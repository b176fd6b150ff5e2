from dataclasses import replace

import numpy as np
import pytest

from pam.data.scans import Scan
from pam.data.slices import _to_float16, cut
from pam.datasets import DATASETS
from pam.errors import DataError

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


def test_float16_keeps_normalised_values_to_three_digits():
    values = np.random.default_rng(0).normal(0, 3, 10_000).astype(np.float32)
    assert np.allclose(_to_float16(values, "T1"), values, rtol=2**-11, atol=2**-24)


@pytest.mark.parametrize("value", [7e4, -7e4, np.inf, np.nan])
def test_a_value_that_float16_cannot_hold_is_an_error(value: float):
    with pytest.raises(DataError, match="more than float16 holds"):
        _to_float16(np.array([1, value], np.float32), "T1")
