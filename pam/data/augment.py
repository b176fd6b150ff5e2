"""Augmentations by name: (images b c h w, masks b h w, generator) → both, drawn per image from the generator.

Decisions are drawn on the CPU, so that the same generator gives the same batches on every device.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pam.registry import Registry

AUGMENTATIONS: Registry[tuple[Tensor, Tensor]] = Registry("augmentation")


@AUGMENTATIONS.register
def horizontal_flip(images: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mirror each image left to right with probability one half, its mask with it."""
    flipped = (torch.rand(len(images), generator=generator) < 0.5).to(images.device)
    images = torch.where(flipped[:, None, None, None], images.flip(-1), images)
    masks = torch.where(flipped[:, None, None], masks.flip(-1), masks)
    return images, masks
