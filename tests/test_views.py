"""What figures show of a data set without its slice store."""

import numpy as np
import pytest

from pam import views
from pam.data.prepare import prepare
from pam.data.store import Store
from pam.data.view import packed, unpacked, view_slice
from pam.datasets import DATASETS
from pam.errors import ResultsError


@pytest.fixture(scope="module")
def store() -> Store:
    return prepare(DATASETS.build("phantom"))


def test_each_case_is_shown_where_its_target_is_largest(store) -> None:
    views.write(store)
    found = views.read(store.hash)
    assert set(found) == set(store.cases)
    for case, view in found.items():
        rows = store.rows(case)
        masks = store.masks[rows] > 0
        assert view.target.sum() == masks.sum((1, 2)).max() > 0
        assert np.array_equal(view.target, masks[list(store.index.slice.iloc[rows]).index(view.slice)])
        assert view.modality == "T1ce"
        assert (view.image.min(), view.image.max()) == (0, 255)


def test_the_enhancing_tumour_is_brighter_than_the_brain_around_it(store) -> None:
    views.write(store)
    for view in views.read(store.hash).values():
        assert np.median(view.image[view.target]) > np.median(view.image[view.image > 0])


def test_a_slice_of_a_scan_is_turned_to_the_radiologists_view(store) -> None:
    views.write(store)
    view = next(iter(views.read(store.hash).values()))
    corner = np.zeros_like(view.target)
    corner[0, 0] = True  # behind, on the left: seen at the lower right
    assert np.argwhere(view.shown(corner)).tolist() == [[corner.shape[0] - 1, corner.shape[1] - 1]]


def test_views_are_written_once(store) -> None:
    views.write(store)
    before = views.path_of(store.hash).stat().st_mtime_ns
    views.write(store)
    assert views.path_of(store.hash).stat().st_mtime_ns == before


def test_a_large_data_set_keeps_evenly_spaced_cases(store) -> None:
    height, width = store.images.shape[-2:]
    views.write(store, limit=3 * height * width)
    assert list(views.read(store.hash)) == [store.cases[0], store.cases[10], store.cases[-1]]


def test_without_a_sweep_there_are_no_views_and_a_damaged_file_is_named(store) -> None:
    assert views.read(store.hash) == {}
    path = views.path_of(store.hash)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no parquet")
    with pytest.raises(ResultsError, match="cannot be read"):
        views.read(store.hash)


def test_a_case_without_target_is_shown_where_it_has_most_brain() -> None:
    assert view_slice(np.array([0, 0, 0]), np.array([5, 9, 9])) == 1
    assert view_slice(np.array([0, 2, 1]), np.array([9, 1, 1])) == 1


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (8, 8), (7, 9)])
def test_a_mask_packed_and_unpacked_is_the_same(shape) -> None:
    mask = np.random.default_rng(0).random(shape) < 0.4
    assert np.array_equal(unpacked(packed(mask), *shape), mask)
