"""Convolutions whose PyTorch kernels fail on the CPU: the same functions, by way of kernels that do not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function

Dims = tuple[int | None, ...]  # of each argument: which dimension is that of the networks


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

    The same function as `nn.Conv2d`, which it is on other devices, to a compiler and in an export. On the CPU it sums
    shifted maps, in float32 also for bfloat16 maps, for which torch 2.13's dilated kernel returns a wrong weight
    gradient in the channels-last format (off by as much as its own size on maps of 40×40 and above) and takes two to
    seven times as long. `tests/networks/test_convolution.py` holds it against a float64 convolution.
    """

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__(channels, channels, 3, padding=dilation, dilation=dilation, groups=channels, bias=False)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (the base class names it so)
        if input.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(input)
        return shifted_sums(input, self.weight[:, 0], self.dilation[0])


def shifted_sums(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """y[i, j] = Σ weight[a, b] x[i + (a − 1) dilation, j + (b − 1) dilation], 0 outside. b c h w; weight c 3 3."""
    y: Tensor = _Sums.apply(x, weight, dilation)  # type: ignore[no-untyped-call]
    return y


def shifted_products(x: Tensor, upstream: Tensor, dilation: int) -> Tensor:
    """The weights' gradients, c 3 3: the sums of upstream[i, j] x[i + (a − 1) dilation, j + (b − 1) dilation]."""
    gradients: Tensor = _Products.apply(x, upstream, dilation)  # type: ignore[no-untyped-call]
    return gradients


class _OfChannels(Function):
    """A function of two tensors that treats each channel alone, so that several networks' are as those of one."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:  # noqa: ARG004
        *tensors, ctx.dilation = inputs
        ctx.save_for_backward(*tensors)


class _Sums(_OfChannels):
    @staticmethod
    def forward(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
        y = torch.empty_like(x, memory_format=torch.contiguous_format)
        weight = weight.to(_precise(x))
        for channels, ((flat, rows), (total, summed)) in _blocks(x, dilation, maps=2):
            centre, *others = (
                (total[:, here], flat[:, there], weight[channels, a, b, None])
                for a, b, here, there in _taps(x, dilation)
            )
            for image, place in zip(x[:, channels], y[:, channels], strict=True):
                rows.copy_(image)
                torch.mul(flat, centre[-1], out=total)
                for onto, shifted, factor in others:
                    onto.addcmul_(shifted, factor)
                place.copy_(summed)
        return y

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, _ = ctx.needs_input_grad
        return (
            shifted_sums(upstream, weight.flip(1, 2), ctx.dilation) if of_x else None,
            shifted_products(x, upstream, ctx.dilation).to(weight.dtype) if of_weight else None,
            None,
        )

    @staticmethod
    def vmap(info: Any, dims: Dims, x: Tensor, weight: Tensor, dilation: int) -> tuple[Tensor, int]:
        x, weight = (_networks_first(info, dim, tensor) for dim, tensor in zip(dims, (x, weight), strict=False))
        y = shifted_sums(_as_channels(x), weight.flatten(0, 1), dilation)
        return y.unflatten(1, (info.batch_size, -1)), 1


class _Products(_OfChannels):
    @staticmethod
    def forward(x: Tensor, upstream: Tensor, dilation: int) -> Tensor:
        gradients = x.new_zeros((x.shape[1], 3, 3), dtype=_precise(x))
        for channels, ((flat, rows), (other, others), (products, _)) in _blocks(x, dilation, maps=3):
            taps = [
                (flat[:, there], other[:, here], products[:, here], gradients[channels, a, b])
                for a, b, here, there in _taps(x, dilation)
            ]
            for image, above in zip(x[:, channels], upstream[:, channels], strict=True):
                rows.copy_(image)
                others.copy_(above)
                for shifted, unmoved, product, gradient in taps:
                    torch.mul(shifted, unmoved, out=product)
                    gradient.add_(product.sum(1))
        return gradients

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, Tensor, None]:
        x, above = ctx.saved_tensors
        return shifted_sums(above, upstream.flip(1, 2), ctx.dilation), shifted_sums(x, upstream, ctx.dilation), None

    @staticmethod
    def vmap(info: Any, dims: Dims, x: Tensor, upstream: Tensor, dilation: int) -> tuple[Tensor, int]:
        x, upstream = (_networks_first(info, dim, tensor) for dim, tensor in zip(dims, (x, upstream), strict=False))
        gradients = shifted_products(_as_channels(x), _as_channels(upstream), dilation)
        return gradients.unflatten(0, (info.batch_size, -1)), 0


def _networks_first(info: Any, dim: int | None, tensor: Tensor) -> Tensor:
    """m …, whether each of m networks has a tensor of its own or all share one."""
    return tensor.expand(info.batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def _as_channels(maps: Tensor) -> Tensor:
    """m b c h w → b m·c h w."""
    return maps.transpose(0, 1).flatten(1, 2)


BLOCK = 100_000  # positions of some channels of one image that are worked on at once: they stay in a core's cache


def _blocks(x: Tensor, dilation: int, maps: int) -> Iterator[tuple[slice, list[tuple[Tensor, Tensor]]]]:
    """Some channels after others, with room for as many `maps` of theirs.

    A map's rows lie one after another, each followed by zeros, so that a shift to the side meets no other row. Room is
    given twice: flat, as c h·(w + dilation), and the part that is the map's, as c h w.
    """
    _, channels, height, width = x.shape
    size = min(channels, max(1, BLOCK // (height * width)))
    room = x.new_zeros((maps, size, height, width + dilation), dtype=_precise(x))
    for start in range(0, channels, size):
        part = room[:, : channels - start]
        yield slice(start, start + size), [(one.flatten(1), one[..., :width]) for one in part]


def _taps(x: Tensor, dilation: int) -> list[tuple[int, int, slice, slice]]:
    """Row and column of each weight that meets the map, and the positions of the flat map that it adds to and from.

    The centre, which always does, comes first.
    """
    height, width = x.shape[-2:]
    length = height * (width + dilation)
    taps = []
    for a in range(3):
        for b in range(3):
            shift = (a - 1) * dilation * (width + dilation) + (b - 1) * dilation
            if abs(a - 1) * dilation < height and abs(b - 1) * dilation < width:
                here = slice(max(0, -shift), min(length, length - shift))
                taps.append((a, b, here, slice(here.start + shift, here.stop + shift)))
    return sorted(taps, key=lambda tap: tap[:2] != (1, 1))


def _precise(x: Tensor) -> torch.dtype:
    """In which products are summed: at least float32."""
    return torch.promote_types(x.dtype, torch.float32)
