import numpy as np
import pandas as pd
import pytest
import torch

from pam.data.batches import Batches, choose_slices
from pam.errors import DataError, StudyError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def an_index(target_pixels: list[int], brain_pixels: list[int], patients: list[str] | None = None) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "patient": patients or ["a"] * len(target_pixels),
            "target_pixels": target_pixels,
            "brain_pixels": brain_pixels,
        }
    )


def batches_of(count: int, *, seed: int = 0, augment: tuple[str, ...] = (), batch_size: int = 4) -> Batches:
    images = np.arange(count * 8, dtype=np.float16).reshape(count, 2, 2, 2)
    masks = (np.arange(count * 4) % 2).astype(np.uint8).reshape(count, 2, 2)
    return Batches(
        images,
        masks,
        np.arange(count),
        batch_size=batch_size,
        augment=augment,
        generator=seeded(seed),
        device=torch.device("cpu"),
    )


def test_the_papers_choice_is_every_slice_with_more_than_one_target_pixel_and_half_of_the_other_brain():
    index = an_index([0, 1, 2, 5] + [0] * 8, [5000] * 4 + [1001] * 4 + [1000] * 4)
    chosen = choose_slices(index, ["a"], "paper", seeded())
    assert {2, 3} <= set(chosen)
    assert len(chosen) == 2 + 3  # the six others with more than 1,000 pixels: 0, 1, 4, 5, 6, 7
    assert set(chosen) <= set(range(8))
    assert list(chosen) == sorted(chosen)


def test_the_papers_choice_is_a_function_of_the_generator():
    index = an_index([0] * 40, [2000] * 40)
    first = choose_slices(index, ["a"], "paper", seeded(1))
    assert np.array_equal(first, choose_slices(index, ["a"], "paper", seeded(1)))
    assert not np.array_equal(first, choose_slices(index, ["a"], "paper", seeded(2)))


def test_only_the_patients_slices_are_chosen():
    index = an_index([9] * 4, [2000] * 4, ["a", "b", "a", "c"])
    assert list(choose_slices(index, ["a", "c"], "all", seeded())) == [0, 2, 3]


def test_nothing_to_train_on_is_an_error():
    with pytest.raises(DataError, match="none of these 1 patients has a slice to choose"):
        choose_slices(an_index([0, 1], [10, 10]), ["a"], "paper", seeded())


def test_an_unknown_choice_is_an_error_that_lists_the_choices():
    with pytest.raises(StudyError, match="expected one of: paper, all"):
        choose_slices(an_index([5], [5000]), ["a"], "some", seeded())


def test_one_pass_shows_every_slice_once():
    seen = torch.cat([images[:, 0, 0, 0] for images, _ in batches_of(10)])
    assert sorted(seen.tolist()) == [8.0 * row for row in range(10)]


def test_batches_are_float32_images_with_one_target_channel():
    images, target = next(iter(batches_of(10)))
    assert (images.shape, images.dtype) == ((4, 2, 2, 2), torch.float32)
    assert (target.shape, target.dtype) == ((4, 1, 2, 2), torch.float32)


def test_the_last_batch_holds_the_rest():
    assert [len(images) for images, _ in batches_of(10)] == [4, 4, 2]
    assert len(batches_of(10)) == 3


def test_each_pass_draws_a_new_order_and_the_same_seed_the_same_orders():
    first, second = batches_of(32, augment=("horizontal_flip",)), batches_of(32, augment=("horizontal_flip",))
    passes = [[torch.cat([images for images, _ in b]) for _ in range(2)] for b in (first, second)]
    assert not torch.equal(passes[0][0], passes[0][1])
    assert torch.equal(passes[0][0], passes[1][0])
    assert torch.equal(passes[0][1], passes[1][1])
