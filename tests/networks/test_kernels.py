"""PyTorch's kernels under every network: each of its convolutions, as it is trained, in bfloat16."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from pam import networks
from pam.networks import NETWORKS
from pam.train import autocast

CPU = torch.device("cpu")
TOLERANCE = 0.03  # of the largest value: bfloat16 keeps 8 bits, sums of products of it are kept in float32


def convolutions(name: str) -> list[tuple[str, nn.Conv2d, torch.Size]]:
    """Every convolution of the network with the shape that reaches it; the first of each kind."""
    options = {"width": 8} if "width" in NETWORKS.options(name) else {}
    network = networks.build(name, 4, generator=torch.Generator().manual_seed(0), **options)
    met: dict[tuple[object, ...], tuple[str, nn.Conv2d, torch.Size]] = {}

    def note(path: str, module: nn.Conv2d, shape: torch.Size) -> None:
        kind = (type(module), shape, module.weight.shape, module.stride, module.dilation, module.groups)
        met.setdefault(kind, (path, module, shape))

    for path, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(lambda module, given, path=path: note(path, module, given[0].shape))
    with torch.no_grad():
        network(torch.zeros(2, 4, 80, 80))
    return list(met.values())


def results(module: nn.Conv2d, x: Tensor, upstream: Tensor, precision: str) -> list[Tensor]:
    """Output, gradient of the input, gradient of the weight."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    module.zero_grad()
    with autocast(CPU, precision):
        y = module(x)
    y.backward(upstream.to(y.dtype))
    assert x.grad is not None
    assert module.weight.grad is not None
    return [tensor.detach().double() for tensor in (y, x.grad, module.weight.grad)]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", networks.names())
def test_every_convolution_has_the_right_output_and_gradients_in_bfloat16(name, layout):
    generator = torch.Generator().manual_seed(1)
    for path, module, shape in convolutions(name):
        fast = copy.deepcopy(module).bfloat16().float().to(memory_format=layout)  # rounded, as it is multiplied
        exact = nn.Conv2d(
            module.in_channels,
            module.out_channels,
            module.kernel_size,
            getattr(module, "step", module.stride),
            module.padding,
            module.dilation,
            module.groups,
            bias=module.bias is not None,
        ).double()
        exact.load_state_dict(fast.state_dict())
        x = torch.randn(shape, generator=generator).bfloat16().to(memory_format=layout)
        upstream = torch.randn(exact(x.double()).shape, generator=generator).bfloat16()
        for what, mine, right in zip(
            ("output", "input's gradient", "weight's gradient"),
            results(fast, x, upstream, "bfloat16"),
            results(exact, x.double(), upstream, "float32"),
            strict=True,
        ):
            error = (mine - right).abs().max() / right.abs().max()
            assert error < TOLERANCE, f"{path}: {what} is off by {error:.2f} of its largest value"
