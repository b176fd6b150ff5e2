"""Augmentations by name: (images b c h w, masks b h w, generator) → both, drawn per image from the generator.

All is drawn on the CPU, so that the same generator gives the same batches on every device. A recipe lists names in
the order in which they are applied. Voxels that are exactly 0 stay 0 under changes of intensity: in most data sets
that is outside the head, which no scanner brightens.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from pam.registry import Registry

# Images are normalised, so intensities are in standard deviations. The paper only flips: the ranges are this project's.
SCALE = (0.75, 1.25)
SHIFT = 0.1
NOISE = 0.1
DEGREES, ZOOM, MOVE = 15.0, 0.1, 0.05  # move: share of the image
BEND, KNOTS = 0.03, 5  # largest displacement as a share of the image; grid of the drawn displacements

AUGMENTATIONS: Registry[tuple[Tensor, Tensor]] = Registry("augmentation")


@AUGMENTATIONS.register
def horizontal_flip(images: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mirror each image left to right with probability one half, its mask with it."""
    flipped = (torch.rand(len(images), generator=generator) < 0.5).to(images.device)
    images = torch.where(flipped[:, None, None, None], images.flip(-1), images)
    masks = torch.where(flipped[:, None, None], masks.flip(-1), masks)
    return images, masks


@AUGMENTATIONS.register
def vertical_flip(images: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mirror each image top to bottom with probability one half, its mask with it."""
    flipped = (torch.rand(len(images), generator=generator) < 0.5).to(images.device)
    images = torch.where(flipped[:, None, None, None], images.flip(-2), images)
    masks = torch.where(flipped[:, None, None], masks.flip(-2), masks)
    return images, masks


@AUGMENTATIONS.register
def quarter_turns(images: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Turn each image by 0, 90, 180 or 270 degrees; by 0 or 180 where it is not square."""
    step = 1 if images.shape[-1] == images.shape[-2] else 2
    turns = (torch.randint(4 // step, (len(images),), generator=generator) * step).to(images.device)
    turned_images, turned_masks = images, masks
    for turn in range(step, 4, step):
        chosen = turns == turn
        turned_images = torch.where(chosen[:, None, None, None], images.rot90(turn, (-2, -1)), turned_images)
        turned_masks = torch.where(chosen[:, None, None], masks.rot90(turn, (-2, -1)), turned_masks)
    return turned_images, turned_masks


@AUGMENTATIONS.register
def intensity_scale(images: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Multiply each channel of each image by a factor of SCALE."""
    factor = _uniform(images.shape[:2], *SCALE, generator)[..., None, None].to(images.device)
    return (images.float() * factor).to(images.dtype), masks


@AUGMENTATIONS.register
def intensity_shift(images: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Add to each channel of each image a number within ± SHIFT; voxels that are 0 stay 0."""
    shift = _uniform(images.shape[:2], -SHIFT, SHIFT, generator)[..., None, None].to(images.device)
    return torch.where(images == 0, images, (images.float() + shift).to(images.dtype)), masks


@AUGMENTATIONS.register
def gaussian_noise(images: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Add noise to each image, of a standard deviation between 0 and NOISE; voxels that are 0 stay 0."""
    deviation = _uniform((len(images), 1, 1, 1), 0, NOISE, generator)
    noise = (torch.randn(images.shape, generator=generator) * deviation).to(images.device)
    return torch.where(images == 0, images, (images.float() + noise).to(images.dtype)), masks


@AUGMENTATIONS.register
def affine(images: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Rotate by ± DEGREES, zoom by 1 ± ZOOM and move by ± MOVE; zero comes in from outside."""
    height, width = images.shape[-2:]
    count = (len(images),)
    angle = _uniform(count, -DEGREES, DEGREES, generator) * math.pi / 180
    zoom = _uniform(count, 1 - ZOOM, 1 + ZOOM, generator)
    move = _uniform((*count, 2), -2 * MOVE, 2 * MOVE, generator)  # the grid runs from −1 to 1
    cosine, sine = angle.cos() / zoom, angle.sin() / zoom
    rows = [cosine, -sine * height / width, move[:, 0], sine * width / height, cosine, move[:, 1]]
    grid = functional.affine_grid(
        torch.stack(rows, -1).view(-1, 2, 3), [len(images), 1, height, width], align_corners=False
    )
    return _sample(images, masks, grid)


@AUGMENTATIONS.register
def elastic(images: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Bend each image by a smooth field, drawn on KNOTS × KNOTS points within ± BEND of its size."""
    height, width = images.shape[-2:]
    knots = _uniform((len(images), 2, KNOTS, KNOTS), -2 * BEND, 2 * BEND, generator)
    field = functional.interpolate(knots, (height, width), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    straight = torch.eye(2, 3).expand(len(images), 2, 3)
    return _sample(
        images, masks, functional.affine_grid(straight, [len(images), 1, height, width], align_corners=False) + field
    )


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator) * (high - low) + low


def _sample(images: Tensor, masks: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Images by bilinear interpolation, masks by nearest neighbour, at the grid's positions (b h w 2)."""
    grid = grid.to(images.device)
    bent = functional.grid_sample(images.float(), grid, mode="bilinear", align_corners=False)
    nearest = functional.grid_sample(masks[:, None].float(), grid, mode="nearest", align_corners=False)[:, 0]
    return bent.to(images.dtype), nearest.to(masks.dtype)
