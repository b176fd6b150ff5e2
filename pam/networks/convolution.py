"""Convolutions whose PyTorch kernels fail on the CPU: the same functions, by way of kernels that do not."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class StridedPointwise(nn.Conv2d):
    """1×1 convolution of every `step`-th row and column: b c h w → b o ⌈h/step⌉ ⌈w/step⌉.

    Takes these positions first and then convolves them all: the backward pass of torch 2.13's own strided 1×1
    convolution writes outside its memory, for channels-last bfloat16 maps of eight channels on the CPU.
    """

    def __init__(self, in_channels: int, out_channels: int, step: int, *, bias: bool) -> None:
        super().__init__(in_channels, out_channels, 1, bias=bias)
        self.step = step

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (the base class names it so)
        return super().forward(input[..., :: self.step, :: self.step])


class DilatedDepthwise(nn.Conv2d):
    """Depth-wise 3×3 convolution without bias that keeps the size: b c h w → b c h w.

    The same function as `nn.Conv2d`, which it is on other devices. On the CPU it uses undilated kernels only: for
    channels-last bfloat16 maps, torch 2.13 returns a wrong weight gradient of the dilated one (off by as much as its
    own size on maps of 40×40 and above), and takes three to five times as long. `tests/networks/test_convolution.py`
    holds both forms against a float64 convolution. An exported graph must fit maps of every size and has no gradients:
    it gets the dilated kernel.
    """

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__(channels, channels, 3, padding=dilation, dilation=dilation, groups=channels, bias=False)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (the base class names it so)
        if input.device.type != "cpu" or torch.compiler.is_exporting():
            return super().forward(input)
        dilation = self.dilation[0]
        # Phases of less than three positions meet a kernel of oneDNN that is slower than nine multiplications.
        if max(input.shape[-2:]) <= 2 * dilation:
            return by_taps(input, self.weight, dilation)
        return by_phases(input, self.weight, dilation)


def by_phases(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """Every dilation-th row and column is an image of its own, on which the convolution is not dilated.

    x: b c h w; weight: c 1 3 3. Exact: rows and columns added to reach a multiple are zero, as is the padding.
    """
    b, c, height, width = x.shape
    x = functional.pad(x, (0, -width % dilation, 0, -height % dilation))
    rows, columns = x.shape[-2] // dilation, x.shape[-1] // dilation
    phases = x.permute(0, 2, 3, 1).reshape(b, rows, dilation, columns, dilation, c).permute(0, 2, 4, 1, 3, 5)
    phases = phases.reshape(b * dilation**2, rows, columns, c).permute(0, 3, 1, 2)
    phases = functional.conv2d(phases, weight, padding=1, groups=c)
    x = phases.permute(0, 2, 3, 1).reshape(b, dilation, dilation, rows, columns, c).permute(0, 3, 1, 4, 2, 5)
    x = x.reshape(b, rows * dilation, columns * dilation, c)[:, :height, :width]
    return x.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def by_taps(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """Sum over the nine weights, each on the part of the map that it moves to another part of it.

    x: b c h w; weight: c 1 3 3.
    """
    height, width = x.shape[-2:]
    taps = weight.to(x.dtype)[:, 0, :, :, None, None]  # c 3 3 1 1; autocast leaves multiplications alone
    y = x * taps[:, 1, 1]
    for row in (-1, 0, 1):
        for column in (-1, 0, 1):
            down, right = row * dilation, column * dilation
            if (down, right) != (0, 0) and abs(down) < height and abs(right) < width:
                part = x[..., max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)]
                around = (max(-right, 0), max(right, 0), max(-down, 0), max(down, 0))
                y = y + functional.pad(part * taps[:, row + 1, column + 1], around)
    return y
