import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pam.data.scale import LOSS_MAX, scale
from pam.errors import DataError

TYPES = ("uint8", "int8", "uint16", "int16", "int32", "float32", "float64")


@pytest.mark.parametrize("zero_outside", [True, False])
@pytest.mark.parametrize("dtype", TYPES)
def test_every_type_has_numpys_moments_and_values(dtype: str, zero_outside: bool):
    voxels = np.random.default_rng(0).normal(20, 30, (3, 5, 40)).clip(-100, 120).clip(0 if dtype[0] == "u" else None)
    voxels = voxels.astype(dtype)
    counted = (voxels[voxels != 0] if zero_outside else voxels).astype(np.float64)
    found = scale(voxels, "T1", zero_outside=zero_outside)
    assert (found.mean, found.deviation) == pytest.approx((counted.mean(), counted.std()), rel=1e-12)
    exact = (voxels.astype(np.float64) - counted.mean()) / counted.std()
    if zero_outside:
        exact[voxels == 0] = 0
    stored = found.apply(voxels)
    assert stored.dtype == np.float16
    assert np.allclose(stored, exact, rtol=2**-11 * 1.01, atol=1e-6)
    assert found.largest >= np.abs(exact).max() * (1 - 1e-12)


@given(
    arrays.arrays(st.sampled_from(["int16", "uint16", "int8"]), (2, 3, 4), elements=st.integers(-100, 100).map(abs)),
    st.permutations(range(3)),
    st.tuples(*[st.sampled_from([1, -1])] * 3),
    st.booleans(),
)
def test_the_order_in_memory_changes_nothing(voxels: np.ndarray, axes: list[int], steps: tuple[int, ...], zero: bool):
    turned = voxels.transpose(axes)[tuple(slice(None, None, step) for step in steps)]
    counted = np.unique(voxels[voxels != 0] if zero else voxels)
    if len(counted) < 2:
        with pytest.raises(DataError, match="everywhere"):
            scale(turned, "T1", zero_outside=zero)
        return
    expected = scale(voxels, "T1", zero_outside=zero)
    found = scale(turned, "T1", zero_outside=zero)
    assert (found.mean, found.deviation, found.largest) == (expected.mean, expected.deviation, expected.largest)
    assert np.array_equal(found.apply(voxels), expected.apply(voxels))


def test_the_root_mean_square_error_of_float16_is_below_half_its_step():
    """A theorem, since the normalised voxels have a mean square of 1: each rounds by at most 2⁻¹¹ of itself."""
    generator = np.random.default_rng(0)
    for voxels in (generator.normal(size=10**5), generator.lognormal(0, 2, 10**5), generator.uniform(size=10**5)):
        found = scale(voxels, "T1", zero_outside=False)
        exact = (voxels - found.mean) / found.deviation
        assert np.sqrt(np.mean((found.apply(voxels) - exact) ** 2)) < 2**-11


def test_a_usual_scan_loses_less_than_a_fiftieth_of_the_bound():
    voxels = np.random.default_rng(0).normal(500, 100, (10, 60, 60))
    assert 0 < scale(voxels, "T1", zero_outside=True).loss < LOSS_MAX / 50
    assert 0 < scale(voxels.astype(np.int16), "T1", zero_outside=True).loss < LOSS_MAX / 50


def test_air_that_fills_most_of_a_scan_does_not_hide_its_loss():
    voxels = np.zeros((10, 60, 60))
    voxels[:4] = np.random.default_rng(0).normal(500, 100, (4, 60, 60))
    assert 0 < scale(voxels, "T1", zero_outside=False).loss < LOSS_MAX / 50


def test_tissues_that_a_few_voxels_would_blur_are_an_error():
    voxels = np.random.default_rng(0).normal(100, 1, (10, 60, 60))
    voxels[0, :6] = 1e6  # one voxel in a hundred
    with pytest.raises(
        DataError, match=r"float16 would blur the middle half of its voxels by .*%.*expected at most 1%"
    ):
        scale(voxels, "T1", zero_outside=True)


def test_a_small_deviation_beside_a_large_mean_is_an_error_where_single_precision_drowns_it():
    voxels = np.random.default_rng(0).normal(1e6, 0.01, (10, 60, 60))
    with pytest.raises(DataError, match="would blur"):
        scale(voxels, "T1", zero_outside=True)


def test_a_voxel_that_float16_cannot_hold_is_an_error(monkeypatch: pytest.MonkeyPatch):
    """Of n voxels none lies more than √n deviations away: for the real limit it takes four thousand million."""
    flat = np.zeros(5_000_000, np.int16)
    flat[0] = 1
    assert scale(flat, "T1", zero_outside=False).largest == pytest.approx(2236, abs=1)
    monkeypatch.setattr("pam.data.scale.FLOAT16_MAX", 2000)
    with pytest.raises(DataError, match=r"2.24e\+03 standard deviations from its mean, more than float16 holds"):
        scale(flat, "T1", zero_outside=False)


@pytest.mark.parametrize("value", [1e300, 1e-320])
def test_values_beyond_single_precision_are_an_error(value: float):
    voxels = np.random.default_rng(0).normal(size=(3, 4, 5)) * value
    with pytest.raises(DataError, match=r"standard deviation of .*; is the file damaged"):
        scale(voxels, "T1", zero_outside=False)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("zero_outside", "value"), [(True, 7), (False, 7), (False, 0), (True, 0)])
def test_a_constant_is_an_error_that_names_its_value(dtype: str, zero_outside: bool, value: int):
    voxels = np.full((3, 4, 5), value, dtype)
    if zero_outside:
        voxels[0] = 0
    named = "zero" if zero_outside and value == 0 else f"{value}(\\.0)?"
    with pytest.raises(DataError, match=f"modality T1 is {named} everywhere"):
        scale(voxels, "T1", zero_outside=zero_outside)


def test_a_constant_whose_sums_are_inexact_is_one_too():
    with pytest.raises(DataError, match="everywhere"):
        scale(np.full(10**5 + 7, 0.1), "T1", zero_outside=False)
