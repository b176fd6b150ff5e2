"""Effective receptive fields: how far a unit of a network really looks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pam.networks.inside import attention_names, recorded

FRACTION = 1 - 0.9545  # Luo et al.: a pixel counts if it has more than this part of the largest gradient (2σ)
BATCH = 4  # images differentiated at once


@dataclass(frozen=True, kw_only=True)
class Field:
    """The effective receptive field of one module's centre unit. `gradient` is h w, on the image's pixels."""

    stage: str  # child of the network, such as encoder2
    branch: str  # main, output, or what the attention map is called
    gradient: np.ndarray

    def area_px(self, fraction: float = FRACTION) -> int:
        """Pixels whose gradient exceeds the fraction of the largest one."""
        return int(np.count_nonzero(self.gradient > fraction * self.gradient.max()))

    @property
    def spread_px(self) -> float:
        """Standard deviation, per axis, of the squared gradient around its own centroid, in pixels.

        Squared, because instance norm gives every pixel of the image a small gradient: weighted by the gradient
        itself that floor would decide the figure. For a Gaussian gradient it is the Gaussian's σ / √2. NaN where
        nothing reaches the unit.
        """
        weights = self.gradient.astype(np.float64) ** 2
        if not weights.any():
            return math.nan
        weights /= weights.sum()
        rows, columns = np.indices(weights.shape)
        row, column = (weights * rows).sum(), (weights * columns).sum()
        return float(np.sqrt((weights * ((rows - row) ** 2 + (columns - column) ** 2)).sum() / 2))


def receptive_fields(network: nn.Module, images: Tensor, generator: torch.Generator) -> list[Field]:
    """The field of every branch of every stage, averaged over the images (b c h w).

    A stage is a child of the network; its branches are `main`, if it has one, its attention maps, and its `output`.
    The network's own output is the last stage's. Gradients have no sign left: see `gradients`.
    Source: Luo et al. (2016). Differs: root mean square over inputs, where signed gradients would cancel.
    """
    named = list(_branches(network))
    maps = gradients(network, [module for _, _, module in named], images, generator)
    return [Field(stage=stage, branch=branch, gradient=maps[module]) for stage, branch, module in named]


def gradients(
    network: nn.Module, names: Sequence[str], images: Tensor, generator: torch.Generator
) -> dict[str, np.ndarray]:
    """Gradient of each named module's centre unit by image pixel, h w: root mean square over images and channels.

    Each image draws one random sign per channel of the unit, so that the mean square over images estimates the sum
    over the unit's channels of their squared gradients; it sums over the image's channels too.
    """
    squares = {name: np.zeros(images.shape[-2:]) for name in names}
    for batch in images.split(BATCH):
        pixels = batch.detach().clone().requires_grad_()
        with recorded(network, names) as outputs:
            network(pixels)
        for name in names:
            unit = outputs[name][:, :, outputs[name].shape[2] // 2, outputs[name].shape[3] // 2]
            signs = torch.randint(0, 2, unit.shape, generator=generator).to(unit) * 2 - 1
            (gradient,) = torch.autograd.grad((unit * signs).sum(), pixels, retain_graph=True)
            squares[name] += gradient.square().sum(dim=(0, 1)).cpu().numpy()
    return {name: np.sqrt(square / len(images)) for name, square in squares.items()}


def _branches(network: nn.Module) -> Iterator[tuple[str, str, str]]:
    """Stage, branch and module name of everything that has a field, in the order of the data's way."""
    attention = attention_names(network)
    for stage, module in network.named_children():
        if hasattr(module, "main"):
            yield stage, "main", f"{stage}.main"
        for name in attention:
            if name.startswith(f"{stage}."):
                yield stage, name.rpartition(".")[2], name
        yield stage, "output", stage
