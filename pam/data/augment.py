"""Augmentations by name: (images b c h w, masks b h w, generator) → both, drawn per image from the generator.

All is drawn on the CPU, so that the same generator gives the same batches on every device. A recipe lists names, or
names with options, in the order in which they are applied. Voxels that are exactly 0 stay 0 under changes of
intensity: in most data sets that is outside the head, which no scanner brightens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pam.errors import StudyError
from pam.registry import Registry
from pam.study import Augmentation

AUGMENTATIONS: Registry[tuple[Tensor, Tensor]] = Registry("augmentation")
Augment = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]

# Images are normalised, so intensities are in standard deviations. The paper only flips: the other defaults are this
# project's.


@AUGMENTATIONS.register
def horizontal_flip(
    images: Tensor, masks: Tensor, generator: torch.Generator, *, probability: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Mirror each image left to right with a probability, its mask with it."""
    return _flip(images, masks, generator, probability, -1)


@AUGMENTATIONS.register
def vertical_flip(
    images: Tensor, masks: Tensor, generator: torch.Generator, *, probability: float = 0.5
) -> tuple[Tensor, Tensor]:
    """Mirror each image top to bottom with a probability, its mask with it."""
    return _flip(images, masks, generator, probability, -2)


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
def intensity_scale(
    images: Tensor, masks: Tensor, generator: torch.Generator, *, spread: float = 0.25
) -> tuple[Tensor, Tensor]:
    """Multiply each channel of each image by a factor within 1 ± spread."""
    _check("intensity_scale", "spread", spread, 0, 1)
    factor = _uniform(images.shape[:2], 1 - spread, 1 + spread, generator)[..., None, None].to(images.device)
    return (images.float() * factor).to(images.dtype), masks


@AUGMENTATIONS.register
def intensity_shift(
    images: Tensor, masks: Tensor, generator: torch.Generator, *, spread: float = 0.1
) -> tuple[Tensor, Tensor]:
    """Add to each channel of each image a number within ± spread; voxels that are 0 stay 0."""
    _check("intensity_shift", "spread", spread, 0, 10)
    shift = _uniform(images.shape[:2], -spread, spread, generator)[..., None, None].to(images.device)
    return torch.where(images == 0, images, (images.float() + shift).to(images.dtype)), masks


@AUGMENTATIONS.register
def gaussian_noise(
    images: Tensor, masks: Tensor, generator: torch.Generator, *, deviation: float = 0.1
) -> tuple[Tensor, Tensor]:
    """Add noise to each image, of a standard deviation between 0 and `deviation`; voxels that are 0 stay 0."""
    _check("gaussian_noise", "deviation", deviation, 0, 10)
    drawn = _uniform((len(images), 1, 1, 1), 0, deviation, generator)
    noise = (torch.randn(images.shape, generator=generator) * drawn).to(images.device)
    return torch.where(images == 0, images, (images.float() + noise).to(images.dtype)), masks


@AUGMENTATIONS.register
def affine(
    images: Tensor,
    masks: Tensor,
    generator: torch.Generator,
    *,
    degrees: float = 15.0,
    zoom: float = 0.1,
    move: float = 0.05,
) -> tuple[Tensor, Tensor]:
    """Rotate by ± degrees, zoom by 1 ± zoom and move by ± move, a share of the image; background comes in."""
    _check("affine", "degrees", degrees, 0, 180)
    _check("affine", "zoom", zoom, 0, 0.9)
    _check("affine", "move", move, 0, 1)
    height, width = images.shape[-2:]
    count = (len(images),)
    angle = _uniform(count, -degrees, degrees, generator) * math.pi / 180
    scale = _uniform(count, 1 - zoom, 1 + zoom, generator)
    shift = _uniform((*count, 2), -2 * move, 2 * move, generator)  # the grid runs from −1 to 1
    cosine, sine = angle.cos() / scale, angle.sin() / scale
    rows = [cosine, -sine * height / width, shift[:, 0], sine * width / height, cosine, shift[:, 1]]
    grid = functional.affine_grid(
        torch.stack(rows, -1).view(-1, 2, 3), [len(images), 1, height, width], align_corners=False
    )
    return _sample(images, masks, grid)


@AUGMENTATIONS.register
def elastic(
    images: Tensor, masks: Tensor, generator: torch.Generator, *, bend: float = 0.03, knots: int = 5
) -> tuple[Tensor, Tensor]:
    """Bend each image by a smooth field, drawn on knots × knots points within ± bend, a share of the image."""
    _check("elastic", "bend", bend, 0, 0.5)
    _check("elastic", "knots", knots, 2, 64)
    height, width = images.shape[-2:]
    drawn = _uniform((len(images), 2, knots, knots), -2 * bend, 2 * bend, generator)
    field = functional.interpolate(drawn, (height, width), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    straight = torch.eye(2, 3).expand(len(images), 2, 3)
    return _sample(
        images, masks, functional.affine_grid(straight, [len(images), 1, height, width], align_corners=False) + field
    )


def canonical(entries: Iterable[Augmentation]) -> tuple[Augmentation, ...]:
    """The same augmentations without options that have their defaults: what is done alike is written alike.

    Raises `StudyError` for an entry that is neither a name nor a name and its options.
    """
    found: list[Augmentation] = []
    for entry in entries:
        name, options = _apart(entry)
        defaults = AUGMENTATIONS.options(name)
        AUGMENTATIONS.check_options(name, options)
        changed = {key: options[key] for key in sorted(options) if options[key] != defaults[key]}
        found.append((name, changed) if changed else name)
    return tuple(found)


def build(entries: Iterable[Augmentation]) -> tuple[Augment, ...]:
    """The augmentations as functions. Raises `StudyError` for what does not exist, and for impossible values."""
    built = []
    for entry in canonical(entries):
        name, options = _apart(entry)
        augment = partial(AUGMENTATIONS.get(name), **options)
        defaults = AUGMENTATIONS.options(name)
        for key, value in options.items():
            expected = int if isinstance(defaults[key], int) else (int, float)
            if not isinstance(value, expected) or isinstance(value, bool):
                raise StudyError(f"option {key!r} of augmentation {name!r} is {value!r}; expected like {defaults[key]}")
        augment(torch.zeros(1, 1, 8, 8), torch.zeros(1, 8, 8, dtype=torch.uint8), torch.Generator())  # checks values
        built.append(augment)
    return tuple(built)


def _apart(entry: Augmentation) -> tuple[str, dict[str, Any]]:
    if isinstance(entry, str):
        return entry, {}
    match entry:
        case (str(name), dict(options)):
            return name, options
    raise StudyError(
        f"recipe field 'augment' holds {entry!r}; expected names, or a name and its options, such as "
        "('affine', {'degrees': 30})"
    )


def _check(name: str, option: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise StudyError(f"option {option!r} of augmentation {name!r} is {value}; expected {low} to {high}")


def _flip(
    images: Tensor, masks: Tensor, generator: torch.Generator, probability: float, axis: int
) -> tuple[Tensor, Tensor]:
    _check("horizontal_flip" if axis == -1 else "vertical_flip", "probability", probability, 0, 1)
    flipped = (torch.rand(len(images), generator=generator) < probability).to(images.device)
    images = torch.where(flipped[:, None, None, None], images.flip(axis), images)
    masks = torch.where(flipped[:, None, None], masks.flip(axis), masks)
    return images, masks


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator) * (high - low) + low


def _sample(images: Tensor, masks: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
    """Images by bilinear interpolation, masks by nearest neighbour, at the grid's positions (b h w 2).

    Outside an image there is no target, and each channel has the median of its corners: 0 where that is background,
    and the air's value where a normalisation has moved it, not the grey that 0 is then.
    """
    grid = grid.to(images.device)
    outside = images[..., [0, 0, -1, -1], [0, -1, 0, -1]].float().median(-1).values[..., None, None]
    bent = functional.grid_sample(images.float() - outside, grid, mode="bilinear", align_corners=False) + outside
    nearest = functional.grid_sample(masks[:, None].float(), grid, mode="nearest", align_corners=False)[:, 0]
    return bent.to(images.dtype), nearest.to(masks.dtype)
