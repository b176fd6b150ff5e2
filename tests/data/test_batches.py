import threading

import numpy as np
import pandas as pd
import pytest
import torch

from pam.data.augment import AUGMENTATIONS
from pam.data.batches import Batches, choose_slices
from pam.data.feed import Held, Streamed, feed
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


ROOM = {"held": 10**9, "streamed": 0}  # bytes: more than the slices need, and less


def batches_of(
    count: int, *, seed: int = 0, augment: tuple[str, ...] = (), batch_size: int = 4, room: int | None = None
) -> Batches:
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
        room=room,
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
    with pytest.raises(DataError, match="no slice to choose"):
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


@pytest.mark.parametrize("augment", [(), AUGMENTATIONS.names()])
def test_the_same_seed_gives_the_same_batches_whether_slices_are_held_or_streamed(augment):
    held, streamed = (batches_of(21, augment=augment, room=room) for room in ROOM.values())
    for _ in range(2):
        for one, other in zip(held, streamed, strict=True):
            assert all(map(torch.equal, one, other))
    assert torch.equal(held.generator.get_state(), streamed.generator.get_state())


def arrays(tmp_path, count: int = 600) -> tuple[np.ndarray, np.ndarray]:
    """Memory-mapped, as in a store."""
    np.save(tmp_path / "images.npy", np.arange(count * 8, dtype=np.float16).reshape(count, 2, 2, 2))
    np.save(tmp_path / "masks.npy", (np.arange(count * 4) % 3 > 0).astype(np.uint8).reshape(count, 2, 2))
    return tuple(np.load(tmp_path / name, mmap_mode="r") for name in ("images.npy", "masks.npy"))


@pytest.mark.parametrize("ahead", [0, 1, 2, 100])
def test_reading_ahead_gives_the_slices_asked_for_in_their_order(tmp_path, ahead):
    images, masks = arrays(tmp_path)
    rows = np.flatnonzero(np.arange(600) % 7)
    order = torch.randperm(len(rows), generator=seeded())
    streamed = Streamed(images, masks, rows, torch.device("cpu"), ahead=ahead)
    held = Held(images, masks, rows, torch.device("cpu"))
    for source in (streamed, held):
        batches = list(source.batches(order.split(50)))
        assert [len(part) for part, _ in batches] == [50] * 10 + [len(rows) - 500]
        assert np.array_equal(torch.cat([part for part, _ in batches]), images[rows[order]])
        assert np.array_equal(torch.cat([part for _, part in batches]), masks[rows[order]])


def test_a_pass_that_is_left_leaves_no_thread(tmp_path):
    images, masks = arrays(tmp_path)
    source = Streamed(images, masks, np.arange(600), torch.device("cpu"), ahead=2)
    batches = source.batches(torch.arange(600).split(10))
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("slices")]


@pytest.mark.parametrize("ahead", [0, 2])
def test_an_error_of_the_reader_reaches_the_training(ahead):
    empty = np.empty((0, 2, 2, 2), np.float16)
    source = Streamed(empty, empty[:, 0], np.arange(20), torch.device("cpu"), ahead=ahead)
    with pytest.raises(IndexError):
        list(source.batches(torch.arange(20).split(10)))


@pytest.mark.parametrize(("room", "kind"), [(600 * 20, Held), (600 * 20 - 1, Streamed), (None, Streamed)])
def test_slices_are_held_if_they_fit_and_never_on_the_cpu_unless_asked(tmp_path, room, kind):
    images, masks = arrays(tmp_path)  # 16 bytes of image and 4 of mask each
    assert isinstance(feed(images, masks, np.arange(600), torch.device("cpu"), room), kind)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("room", ROOM.values())
def test_a_gpu_gets_the_batches_that_the_cpu_gets(tmp_path, room):
    images, masks = arrays(tmp_path)
    passes = [
        list(
            Batches(
                images,
                masks,
                np.arange(600),
                batch_size=50,
                augment=("horizontal_flip", "quarter_turns"),
                generator=seeded(),
                device=torch.device(device),
                room=room,
            )
        )
        for device in ("cpu", "cuda")
    ]
    for (images_here, target_here), (images_there, target_there) in zip(*passes, strict=True):
        assert torch.equal(images_here, images_there.cpu()) and torch.equal(target_here, target_there.cpu())
