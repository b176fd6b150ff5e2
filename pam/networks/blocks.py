"""Blocks that several networks share. Feature maps are b c h w."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from pam.networks.convolution import DilatedDepthwise, StridedPointwise

Block = Callable[[int, int, int], nn.Module]  # (in_channels, out_channels, stride) → module


class Attention(nn.Module):
    """A branch whose output is an attention map; `pam.networks.attention_maps` returns it under the module's name."""


class InstanceNorm(nn.InstanceNorm2d):
    """Instance normalisation that also takes a single position, whose normalised value is 0 (then scale and shift).

    Source: Ulyanov et al. (2017). Differs from `nn.InstanceNorm2d`, which refuses a single position; with it an image
    of 8×8 pixels could not be trained on.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (the base class names it so)
        return torch.instance_norm(
            input, self.weight, self.bias, None, None, True, 0.0, self.eps, torch.backends.cudnn.enabled
        )


class ConvBlock(nn.Module):
    """[conv 3×3 without bias → instance norm → ReLU] × 2; the first convolution has the stride, both the dilation."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, *, dilation: int = 1) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, out_channels, stride=stride, dilation=dilation)
        self.norm1 = InstanceNorm(out_channels, affine=True)
        self.conv2 = conv3x3(out_channels, out_channels, dilation=dilation)
        self.norm2 = InstanceNorm(out_channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(x)))


class Followed(nn.Module):
    """A convolution block and an attention module that refines its output."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, refine: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.main = ConvBlock(in_channels, out_channels, stride)
        self.refine = refine(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.refine(self.main(x))
        return features


def followed_by(refine: Callable[[int], nn.Module]) -> Block:
    """A block that ends in an attention module, given as a function of its channels."""

    def block(in_channels: int, out_channels: int, stride: int) -> nn.Module:
        return Followed(in_channels, out_channels, stride, refine)

    return block


def attend(features: Tensor, attention: Tensor) -> Tensor:
    """Return features · attention + features, in one pass over the map."""
    return torch.addcmul(features, features, attention)


def conv3x3(
    in_channels: int, out_channels: int, *, stride: int = 1, dilation: int = 1, depthwise: bool = False
) -> nn.Conv2d:
    """3×3 convolution without bias that keeps the size (at stride 1)."""
    if depthwise and dilation > 1:
        assert in_channels == out_channels and stride == 1, "a dilated depth-wise convolution keeps channels and size"
        return DilatedDepthwise(in_channels, dilation)
    groups = in_channels if depthwise else 1
    return nn.Conv2d(
        in_channels, out_channels, 3, stride, padding=dilation, dilation=dilation, groups=groups, bias=False
    )


def conv1x1(in_channels: int, out_channels: int, *, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    """1×1 convolution; with a stride it looks at every stride-th position only."""
    if stride > 1:
        return StridedPointwise(in_channels, out_channels, stride, bias=bias)
    return nn.Conv2d(in_channels, out_channels, 1, bias=bias)


def upsample(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, corners aligned."""
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=True)
