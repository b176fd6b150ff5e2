import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam.data.geometry import centre_crop

lengths = st.integers(1, 12)


def test_a_crop_keeps_the_middle():
    plane = np.arange(16).reshape(4, 4)
    assert centre_crop((4, 4), (2, 2)).apply(plane).tolist() == [[5, 6], [9, 10]]


def test_a_smaller_plane_is_padded_with_zeros():
    crop = centre_crop((2, 3), (4, 5))
    padded = crop.apply(np.ones((2, 3)))
    assert (crop.top, crop.left) == (-1, -1)
    assert padded.tolist() == [[0] * 5, [0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0] * 5]


@given(height=lengths, width=lengths, size=st.tuples(lengths, lengths))
def test_undoing_a_crop_restores_what_it_kept_and_zeros_the_rest(height: int, width: int, size: tuple[int, int]):
    volume = np.arange(1, 2 * height * width + 1).reshape(2, height, width)
    crop = centre_crop((height, width), size)
    cropped = crop.apply(volume)
    restored = crop.undo(cropped)
    assert cropped.shape == (2, *size)
    assert restored.shape == volume.shape
    assert set(np.unique(restored[restored != volume])) <= {0}
    assert np.array_equal(np.sort(restored[restored != 0]), np.sort(cropped[cropped != 0]))


@given(height=lengths, width=lengths, size=st.tuples(lengths, lengths))
def test_a_mask_in_the_crop_survives_undoing_and_cropping_again(height: int, width: int, size: tuple[int, int]):
    crop = centre_crop((height, width), size)
    mask = crop.apply(np.ones((height, width), bool))
    assert np.array_equal(crop.apply(crop.undo(mask)), mask)


@pytest.mark.parametrize("size", [(8, 8), (5, 4), (4, 7)])
def test_an_empty_mask_stays_empty(size: tuple[int, int]):
    crop = centre_crop((6, 6), size)
    assert not crop.undo(crop.apply(np.zeros((3, 6, 6), bool))).any()
