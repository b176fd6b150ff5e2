"""The U-net that every network of the zoo is made from, by naming the blocks that differ at its stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from pam.errors import DataError, StudyError
from pam.networks.blocks import Block, ConvBlock, conv1x1, upsample

size_multiple = 8  # three stages halve height and width

ENCODER = ("encoder1", "encoder2", "encoder3", "encoder4", "bridge")
DECODER = ("decoder3", "decoder2", "decoder1")


class Gate(Protocol):
    """Weights a skip (b c h w) by a deeper feature already of its height and width."""

    def __call__(self, skip: Tensor, deeper: Tensor) -> Tensor: ...


class Unet(nn.Module):
    """U-net with three down-sampling stages, instance norm and bilinear up-sampling; foreground logits b o h w.

    `blocks` names the stages (`ENCODER`, `DECODER`) whose convolution block is replaced; `gate`, a function of the
    skip's and the deeper feature's channels, makes the module that weights each skip. Images are b c h w; `DataError`
    unless height and width are divisible by 8.

    Source: Ronneberger et al. (2015) as changed in Xu et al. (2020), section 3.3.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        width: int,
        out_channels: int,
        blocks: Mapping[str, Block] | None = None,
        gate: Callable[[int, int], nn.Module] | None = None,
        attention: str = "none",
        placement: str = "none",
        reversed_labels: bool = False,
    ) -> None:
        super().__init__()
        at_least_one(in_channels=in_channels, width=width, out_channels=out_channels)
        blocks = blocks or {}
        assert set(blocks) <= {*ENCODER, *DECODER}, f"no such stage: {set(blocks) - {*ENCODER, *DECODER}}"
        self.attention_type = attention
        self.attention_place = placement
        self.reversed_labels = reversed_labels

        def stage(name: str, inputs: int, outputs: int, stride: int = 1) -> nn.Module:
            return blocks.get(name, ConvBlock)(inputs, outputs, stride)

        one, two, four, eight = width, 2 * width, 4 * width, 8 * width
        self.encoder1 = stage("encoder1", in_channels, one)
        self.encoder2 = stage("encoder2", one, two, stride=2)
        self.encoder3 = stage("encoder3", two, four, stride=2)
        self.encoder4 = stage("encoder4", four, eight, stride=2)
        self.bridge = stage("bridge", eight, eight)
        self.gate3 = gate(four, eight) if gate else None
        self.gate2 = gate(two, four) if gate else None
        self.gate1 = gate(one, two) if gate else None
        self.decoder3 = stage("decoder3", four + eight, four)
        self.decoder2 = stage("decoder2", two + four, two)
        self.decoder1 = stage("decoder1", one + two, one)
        self.head = conv1x1(one, out_channels)

    def forward(self, images: Tensor) -> Tensor:
        check_size(images.shape[-2], images.shape[-1])
        skip1 = self.encoder1(images)
        skip2 = self.encoder2(skip1)
        skip3 = self.encoder3(skip2)
        x = self.bridge(self.encoder4(skip3))
        x = self.decoder3(_join(skip3, x, self.gate3))
        x = self.decoder2(_join(skip2, x, self.gate2))
        x = self.decoder1(_join(skip1, x, self.gate1))
        logits: Tensor = self.head(x)
        # Trained on reversed labels the head's logits are the background's: 1 − sigmoid(z) = sigmoid(−z).
        return -logits if self.reversed_labels else logits


def _join(skip: Tensor, deeper: Tensor, gate: nn.Module | None) -> Tensor:
    """The skip, weighted by its gate if there is one, and the deeper feature brought to its size."""
    deeper = upsample(deeper, (skip.shape[-2], skip.shape[-1]))
    return torch.cat([skip if gate is None else gate(skip, deeper), deeper], dim=1)


def check_size(height: int, width: int) -> None:
    """Raise `DataError` unless both are divisible by 8; the error states the next size."""
    if height % size_multiple or width % size_multiple:
        wanted = "×".join(map(str, next_size(height, width)))
        raise DataError(
            f"images of {height}×{width} pixels: expected height and width divisible by {size_multiple}; "
            f"pad or crop them, the next size is {wanted}"
        )


def next_size(height: int, width: int) -> tuple[int, int]:
    """The smallest size that a network takes and that holds height × width."""
    return -(-height // size_multiple) * size_multiple, -(-width // size_multiple) * size_multiple


def at_least_one(**options: int) -> None:
    """Raise `StudyError` for an option that is no whole number ≥ 1."""
    for name, value in options.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise StudyError(f"network option {name!r} is {value!r}; expected a whole number ≥ 1")


def one_of(name: str, value: object, possible: tuple[object, ...]) -> None:
    """Raise `StudyError` for an option's value that is none of the possible ones."""
    # By type too: 1 equals True and 4.0 equals 4, but each would be a cell of its own.
    if not any(type(value) is type(option) and value == option for option in possible):
        raise StudyError(f"network option {name!r} is {value!r}; possible: {', '.join(map(repr, possible))}")


def placed(
    block: Block, placement: str, *, encoder: tuple[str, ...], decoder: tuple[str, ...] = DECODER
) -> dict[str, Block]:
    """The block at the stages that the placement `encoder`, `decoder` or `both` names."""
    one_of("placement", placement, ("encoder", "decoder", "both"))
    stages = {"encoder": encoder, "decoder": decoder, "both": encoder + decoder}[placement]
    return dict.fromkeys(stages, block)
