"""Our forms of convolutions against PyTorch's in float64, forward and backward; in bfloat16, where PyTorch's fail."""

import pytest
import torch
from torch.nn import functional

from pam.networks.convolution import DilatedDepthwise, StridedPointwise, shifted_products, shifted_sums

SIZES = [(40, 40), (33, 20), (20, 41), (12, 12), (6, 7), (1, 1)]


def with_gradients(function, x, weight, upstream):
    x, weight = x.detach().clone().requires_grad_(), weight.detach().clone().requires_grad_()
    y = function(x, weight)
    y.backward(upstream.to(y.dtype))
    assert x.grad is not None
    assert weight.grad is not None
    return [tensor.double() for tensor in (y.detach(), x.grad, weight.grad)]


def drawn(size: tuple[int, int], channels: int = 32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((4, channels, *size), (channels, 1, 3, 3), (4, channels, *size))
    x, weight, upstream = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return x, weight, upstream


def expected(x, weight, upstream, dilation):
    return with_gradients(
        lambda a, w: functional.conv2d(a, w, padding=dilation, dilation=dilation, groups=len(w)), x, weight, upstream
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dilation", [1, 2, 6, 9, 12])
@pytest.mark.parametrize("block", [1, 1000, 10**9])
def test_it_is_the_dilated_convolution_and_so_are_its_gradients(block, dilation, size, monkeypatch):
    monkeypatch.setattr("pam.networks.convolution.BLOCK", block)
    x, weight, upstream = drawn(size, channels=5)
    convolution = DilatedDepthwise(len(weight), dilation)
    ours = with_gradients(
        lambda a, w: torch.func.functional_call(convolution, {"weight": w}, (a,)), x, weight, upstream
    )
    for mine, theirs in zip(ours, expected(x, weight, upstream, dilation), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("size", [(80, 80), (40, 40), (20, 20), (12, 12)])
@pytest.mark.parametrize("dilation", [6, 9, 12])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_bfloat16_gradients_are_those_of_float64_to_bfloat16s_precision(dilation, size, layout):
    x, weight, upstream = drawn(size)
    convolution = DilatedDepthwise(len(weight), dilation)

    def in_bfloat16(a, w):
        a = a.to(memory_format=layout)
        return torch.func.functional_call(convolution, {"weight": w}, (a,))

    ours = with_gradients(in_bfloat16, x.bfloat16(), weight.bfloat16(), upstream.bfloat16())
    theirs = expected(x.bfloat16().double(), weight.bfloat16().double(), upstream.bfloat16().double(), dilation)
    for mine, right in zip(ours, theirs, strict=True):
        assert ((mine - right).abs().max() / right.abs().max()).item() < 5e-3


@pytest.mark.parametrize("function", [shifted_sums, shifted_products])
def test_gradients_are_right_also_of_gradients(function):
    generator = torch.Generator().manual_seed(0)
    other = (3, 3, 3) if function is shifted_sums else (2, 3, 5, 4)
    x, y = (
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in ((2, 3, 5, 4), other)
    )
    assert torch.autograd.gradcheck(lambda a, b: function(a, b, 2), (x, y))
    assert torch.autograd.gradgradcheck(lambda a, b: function(a, b, 2), (x, y))


@pytest.mark.parametrize("size", [(8, 8), (7, 5), (1, 1)])
def test_a_strided_pointwise_convolution_is_pytorchs_and_so_are_its_gradients(size):
    x, _, _ = drawn(size, channels=6)
    convolution = StridedPointwise(6, 5, 2, bias=False).double()
    upstream = torch.randn(convolution(x).shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def ours(a, w):
        return torch.func.functional_call(convolution, {"weight": w}, (a,))

    def theirs(a, w):
        return functional.conv2d(a, w, stride=2)

    weight = convolution.weight.detach()
    for mine, right in zip(
        with_gradients(ours, x, weight, upstream), with_gradients(theirs, x, weight, upstream), strict=True
    ):
        torch.testing.assert_close(mine, right, rtol=1e-12, atol=1e-12)
