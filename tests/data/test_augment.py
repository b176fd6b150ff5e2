import pytest
import torch

from pam.data import augment
from pam.data.augment import AUGMENTATIONS, horizontal_flip


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_horizontal_flip_mirrors_columns_of_image_and_mask_together():
    images = torch.arange(64 * 6.0).reshape(64, 1, 2, 3)
    masks = images[:, 0].to(torch.uint8)
    flipped_images, flipped_masks = horizontal_flip(images, masks, seeded())
    mirrored = 0
    for before, after, mask in zip(images, flipped_images, flipped_masks, strict=True):
        assert torch.equal(after, before) or torch.equal(after, before.flip(-1))
        assert torch.equal(mask, after[0].to(torch.uint8))
        mirrored += not torch.equal(after, before)
    assert 16 < mirrored < 48


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_an_augmentation_keeps_shapes_and_types_and_its_input(name):
    images, masks = torch.randn(5, 4, 8, 8), torch.randint(0, 2, (5, 8, 8), dtype=torch.uint8)
    before = images.clone(), masks.clone()
    new_images, new_masks = AUGMENTATIONS.get(name)(images, masks, seeded())
    assert (new_images.shape, new_images.dtype) == (images.shape, images.dtype)
    assert (new_masks.shape, new_masks.dtype) == (masks.shape, masks.dtype)
    assert torch.equal(images, before[0])
    assert torch.equal(masks, before[1])


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_an_augmentation_is_a_function_of_its_generator(name):
    images, masks = torch.randn(5, 4, 8, 8), torch.randint(0, 2, (5, 8, 8), dtype=torch.uint8)
    augment = AUGMENTATIONS.get(name)
    first, again = augment(images, masks, seeded(3)), augment(images, masks, seeded(3))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])


GEOMETRIC = ["horizontal_flip", "vertical_flip", "quarter_turns", "affine", "elastic"]
INTENSITY = ["intensity_scale", "intensity_shift", "gaussian_noise"]


def blocks(count: int = 16, size: tuple[int, int] = (32, 32)) -> tuple[torch.Tensor, torch.Tensor]:
    """Images whose bright part is the mask, off the centre."""
    masks = torch.zeros(count, *size, dtype=torch.uint8)
    masks[:, 6:18, 4:24] = 1
    return masks[:, None].half().repeat(1, 2, 1, 1), masks


def test_every_augmentation_is_tested_as_one_of_place_or_of_intensity():
    assert sorted(GEOMETRIC + INTENSITY) == sorted(AUGMENTATIONS.names())


@pytest.mark.parametrize("name", AUGMENTATIONS.names())
def test_an_augmentation_changes_images_each_in_its_own_way(name):
    images, masks = blocks()
    changed, _ = AUGMENTATIONS.get(name)(images, masks, seeded())
    assert not torch.equal(changed, images)
    assert any(not torch.equal(changed[0], image) for image in changed[1:])


@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
@pytest.mark.parametrize("name", GEOMETRIC)
def test_a_mask_goes_where_its_image_goes(name, size):
    images, masks = blocks(size=size)
    changed, changed_masks = AUGMENTATIONS.get(name)(images, masks, seeded())
    bright = changed[:, 0].float() > 0.5
    agree = (bright == changed_masks.bool()).float().mean((1, 2))
    assert agree.min() > 0.97  # borders are interpolated in the image and rounded in the mask
    assert set(changed_masks.unique().tolist()) == {0, 1}


@pytest.mark.parametrize("name", INTENSITY)
def test_a_change_of_intensity_leaves_masks_and_zero_voxels_alone(name):
    images, masks = blocks()
    changed, changed_masks = AUGMENTATIONS.get(name)(images, masks, seeded())
    assert torch.equal(changed_masks, masks)
    assert (changed[images == 0] == 0).all()


def test_quarter_turns_are_all_four_of_a_square_and_two_of_an_oblong():
    square, oblong = torch.arange(9.0).view(1, 1, 3, 3), torch.arange(6.0).view(1, 1, 2, 3)
    for image, expected in ((square, 4), (oblong, 2)):
        images = image.expand(64, -1, -1, -1)
        turned, _ = augment.quarter_turns(images, images[:, 0], seeded())
        assert len({tuple(one.flatten().tolist()) for one in turned}) == expected


def test_an_affine_keeps_angles_where_the_image_is_not_square():
    masks = torch.zeros(1, 40, 80, dtype=torch.uint8)
    masks[:, 10:30, 30:50] = 1  # a square stays one: as many pixels, and its corners as far from the middle
    images = masks[:, None].float()
    for seed in range(5):
        _, turned = augment.affine(images, masks, seeded(seed), zoom=0, move=0)
        rows, columns = turned[0].nonzero(as_tuple=True)
        assert abs(len(rows) - 400) < 25
        reach = (rows + 0.5 - 20) ** 2 + (columns + 0.5 - 40) ** 2
        assert reach.max().sqrt() == pytest.approx(200**0.5, abs=1.5)


def test_intensities_stay_within_their_ranges():
    images, masks = torch.ones(64, 3, 4, 4), torch.zeros(64, 4, 4)
    scaled, _ = augment.intensity_scale(images, masks, seeded())
    shifted, _ = augment.intensity_shift(images, masks, seeded())
    assert scaled.min() >= 0.75 and scaled.max() <= 1.25 and scaled.std() > 0.1
    assert (shifted - 1).abs().max() <= 0.1 and shifted.std() > 0.04
