"""Facts that hold for every registered network; a new one is tested by existing."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from pam import networks
from pam.losses import loss_of
from pam.networks import NETWORKS
from pam.train import autocast

pytestmark = pytest.mark.parametrize("name", networks.names())

SMALL = 4  # width of the networks whose size does not matter
IN_CHANNELS = 3
BFLOAT16_TOLERANCE = 0.1  # of the logits' standard deviation, root mean square: bfloat16 keeps 8 bits through 18 layers


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small(name: str, seed: int = 0) -> nn.Module:
    """In evaluation mode, in which a network with dropout, too, is a function of its images."""
    options = {"width": SMALL} if "width" in NETWORKS.options(name) else {}
    return networks.build(name, IN_CHANNELS, generator=generator(seed), **options).eval()


def images(batch: int = 2, height: int = 16, width: int = 24, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(batch, IN_CHANNELS, height, width, generator=generator(1), dtype=dtype)


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    yield
    torch.compiler.reset()


def test_logits_are_b_1_h_w(name):
    assert small(name)(images()).shape == (2, 1, 16, 24)


def test_an_image_has_the_same_logits_in_any_batch(name):
    network, batch = small(name).double(), images(dtype=torch.float64)
    torch.testing.assert_close(network(batch[1:]), network(batch)[1:])


def test_training_and_evaluation_give_the_same_logits(name):
    network, batch = small(name), images()
    if any(isinstance(module, (_BatchNorm, _DropoutNd)) for module in network.modules()):
        pytest.skip("its layers differ between training and evaluation by design")
    torch.testing.assert_close(network.train()(batch), network.eval()(batch))


def test_gradient_reaches_every_parameter(name):
    reached: set[str] = set()
    for seed in range(4):  # a few rectified channels, as in squeezes to two, may all be negative for one draw
        network = networks.build(name, IN_CHANNELS, generator=generator(seed))
        # Large enough that no branch shrinks to a single position, whose norm is constant.
        logits = network(images(1, 128, 64))
        (logits * torch.randn(logits.shape, generator=generator(2))).sum().backward()
        gradients = {key: parameter.grad for key, parameter in network.named_parameters()}
        assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())
        reached |= {key for key, gradient in gradients.items() if gradient.any()}
        if reached == gradients.keys():
            break
    assert reached == gradients.keys()


def test_the_same_generator_gives_the_same_weights_and_leaves_the_global_one_alone(name):
    first = small(name, seed=5).state_dict()
    torch.manual_seed(123)
    second = small(name, seed=5)
    before = torch.get_rng_state()
    networks.initialise(second, generator(5))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], value) for key, value in second.state_dict().items())
    other = small(name, seed=6).state_dict()
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_the_generator_gives_the_same_weights_in_channels_last(name):
    first, second = small(name), small(name).to(memory_format=torch.channels_last)
    networks.initialise(second, generator())
    assert all(torch.equal(first.state_dict()[key], value) for key, value in second.state_dict().items())


def test_state_dict_goes_round_through_a_file(name, tmp_path):
    network, other = small(name), small(name, seed=9)
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    other.load_state_dict(torch.load(tmp_path / "weights.pt", weights_only=True))
    assert torch.equal(network(images()), other(images()))


def test_output_is_identical_in_channels_last(name):
    network, batch = small(name).double(), images(dtype=torch.float64)
    expected = network(batch)
    network.to(memory_format=torch.channels_last)
    found = network(batch.contiguous(memory_format=torch.channels_last))
    # In float64, so that another order of summation is all that may differ.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_bfloat16_autocast_stays_within_its_tolerance(name):
    network, batch = networks.build(name, IN_CHANNELS, generator=generator()).eval(), images(2, 64, 64)
    with torch.no_grad():
        expected = network(batch)
        with autocast(batch.device, "bfloat16"):
            found = network(batch).float()
    error = (found - expected).square().mean().sqrt() / expected.std()
    assert error < BFLOAT16_TOLERANCE


def test_is_one_graph_to_the_compiler(name):
    network, batch = small(name), images()
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(batch), network(batch))
    assert getattr(compiled, "reversed_labels", False) == getattr(network, "reversed_labels", False)


def test_exports_with_any_batch(name):
    network = small(name)
    batch = torch.export.Dim("batch")
    exported = torch.export.export(network, (images(),), dynamic_shapes=({0: batch},))
    torch.testing.assert_close(exported.module()(images(5)), network(images(5)))


def test_an_ensemble_runs_and_differentiates_under_vmap(name):
    ensemble = [small(name, seed).double() for seed in range(3)]
    weights, buffers = stack_module_state(ensemble)
    skeleton = copy.deepcopy(ensemble[0]).to("meta")
    batch = images(dtype=torch.float64)

    def loss(weights, buffers, batch):
        return functional_call(skeleton, (weights, buffers), (batch,)).square().mean()

    losses = vmap(loss, in_dims=(0, 0, None))(weights, buffers, batch)
    torch.testing.assert_close(losses, torch.stack([network(batch).square().mean() for network in ensemble]))
    gradients = vmap(grad(loss), in_dims=(0, 0, None))(weights, buffers, batch)
    for index, network in enumerate(ensemble):
        network(batch).square().mean().backward()
        for key, parameter in network.named_parameters():
            torch.testing.assert_close(gradients[key][index], parameter.grad)


def test_training_raises_the_logits_of_the_foreground(name):
    network, batch = small(name).train(), images(4, 32, 32)
    target = (batch[:, :1] > 0.5).float()
    loss = loss_of(network, "dice")
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for _ in range(25):
        optimizer.zero_grad()
        loss(network(batch), target).backward()
        optimizer.step()
    logits = network(batch)
    assert logits[target > 0].mean() > logits[target == 0].mean() + 0.1
