"""bfloat16 without the processor's help is the same arithmetic, cast where autocast casts."""

from contextlib import ExitStack

import pytest
import torch
from torch import nn

from pam import networks
from pam.train import autocast
from pam.train.precision import in_float32

CPU = torch.device("cpu")
CALLS = {
    "conv1d": (nn.functional.conv1d, (2, 4, 20), (6, 4, 3)),
    "conv2d": (nn.functional.conv2d, (2, 4, 20, 20), (6, 4, 3, 3)),
    "conv3d": (nn.functional.conv3d, (2, 4, 8, 8, 8), (6, 4, 3, 3, 3)),
    "conv_transpose1d": (nn.functional.conv_transpose1d, (2, 4, 20), (4, 6, 3)),
    "conv_transpose2d": (nn.functional.conv_transpose2d, (2, 4, 20, 20), (4, 6, 3, 3)),
    "conv_transpose3d": (nn.functional.conv_transpose3d, (2, 4, 8, 8, 8), (4, 6, 3, 3, 3)),
    "linear": (nn.functional.linear, (5, 12), (7, 12)),
    "mm": (torch.mm, (5, 12), (12, 7)),
    "bmm": (torch.bmm, (3, 5, 12), (3, 12, 7)),
    "matmul": (torch.matmul, (3, 5, 12), (12, 7)),
    "method": (torch.Tensor.matmul, (3, 5, 12), (12, 7)),
    "operator": (lambda a, b: a @ b, (3, 5, 12), (12, 7)),
}


def drawn(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", CALLS)
def test_products_and_gradients_are_those_of_the_rounded_operands(name):
    call, *shapes = CALLS[name]
    ours = [drawn(shape, seed).requires_grad_() for seed, shape in enumerate(shapes)]
    exact = [one.detach().bfloat16().double().requires_grad_() for one in ours]
    with torch.autocast("cpu", dtype=torch.bfloat16), in_float32():
        found = call(*ours)
    expected = call(*exact)
    assert found.dtype == torch.bfloat16
    # Half a unit in the last of bfloat16's eight places, and float32's own error.
    torch.testing.assert_close(found.double(), expected, rtol=2**-8, atol=1e-5)
    upstream = drawn(found.shape, 9).bfloat16()
    found.backward(upstream)
    expected.backward(upstream.double())
    for one, other in zip(ours, exact, strict=True):
        torch.testing.assert_close(one.grad.double(), other.grad, rtol=2**-8, atol=1e-4)


def test_what_autocast_leaves_alone_stays_so():
    weight = drawn((6, 4, 3, 3), 0)
    with torch.autocast("cpu", dtype=torch.bfloat16), in_float32():
        assert nn.functional.conv2d(drawn((1, 4, 9, 9), 1).double(), weight.double()).dtype == torch.float64
        assert (drawn(8, 0) + drawn(8, 1)).dtype == torch.float32
        named = nn.functional.conv2d(input=drawn((1, 4, 9, 9), 1), weight=weight, bias=None, padding=1)
    assert named.dtype == torch.bfloat16
    with autocast(CPU, "float32"):
        assert nn.functional.conv2d(drawn((1, 4, 9, 9), 1), weight).dtype == torch.float32
    assert nn.functional.conv2d(drawn((1, 4, 9, 9), 1), weight).dtype == torch.float32


def test_a_recipe_says_bfloat16_on_every_processor():
    with autocast(CPU, "bfloat16"):
        assert nn.Conv2d(4, 6, 3)(drawn((1, 4, 9, 9), 1)).dtype == torch.bfloat16


@pytest.mark.parametrize("name", networks.names())
def test_a_network_learns_what_it_learns_under_torchs_own_autocast(name):
    """Two orders of the same roundings are nearer to one another than either is to float32."""
    options = {"width": 8} if "width" in networks.NETWORKS.options(name) else {}
    network = networks.build(name, 4, generator=torch.Generator().manual_seed(0), **options)
    images, target = drawn((2, 4, 48, 48), 1), (drawn((2, 1, 48, 48), 2) > 1.5).float()

    def gradients(*contexts):
        network.zero_grad()
        with ExitStack() as stack:
            for context in contexts:
                stack.enter_context(context)
            logits = network(images)
        nn.functional.binary_cross_entropy_with_logits(logits.float(), target).backward()
        return torch.cat([one.grad.flatten() for one in network.parameters() if one.grad is not None])

    plain = gradients()
    theirs = gradients(torch.autocast("cpu", dtype=torch.bfloat16))
    ours = gradients(torch.autocast("cpu", dtype=torch.bfloat16), in_float32())
    assert (ours - theirs).norm() < min((theirs - plain).norm(), (ours - plain).norm())
