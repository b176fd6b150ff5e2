"""Our forms of convolutions against PyTorch's in float64, forward and backward; in bfloat16, where PyTorch's fail."""

import pytest
import torch
from torch.nn import functional

from pam.networks.convolution import DilatedDepthwise, StridedPointwise, by_phases, by_taps

SIZES = [(40, 40), (33, 20), (20, 41), (12, 12), (6, 7), (1, 1)]
FORMS = [by_phases, by_taps]


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
@pytest.mark.parametrize("dilation", [2, 6, 9, 12])
@pytest.mark.parametrize("form", FORMS)
def test_both_forms_are_the_dilated_convolution_and_so_are_their_gradients(form, dilation, size):
    x, weight, upstream = drawn(size)
    ours = with_gradients(lambda a, w: form(a, w, dilation), x, weight, upstream)
    for mine, theirs in zip(ours, expected(x, weight, upstream, dilation), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("size", [(80, 80), (40, 40), (20, 20), (12, 12)])
@pytest.mark.parametrize("dilation", [6, 9, 12])
def test_channels_last_bfloat16_gradients_are_those_of_float64_to_bfloat16s_precision(dilation, size):
    x, weight, upstream = drawn(size)
    convolution = DilatedDepthwise(len(weight), dilation)

    def in_bfloat16(a, w):
        a = a.to(memory_format=torch.channels_last)
        return torch.func.functional_call(convolution, {"weight": w}, (a,))

    ours = with_gradients(in_bfloat16, x.bfloat16(), weight.bfloat16(), upstream.bfloat16())
    theirs = expected(x.bfloat16().double(), weight.bfloat16().double(), upstream.bfloat16().double(), dilation)
    for mine, right in zip(ours, theirs, strict=True):
        assert ((mine - right).abs().max() / right.abs().max()).item() < 2e-2


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
