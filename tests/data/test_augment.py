import pytest
import torch

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
