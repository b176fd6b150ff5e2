"""Each block against dense algebra in NumPy (einsum over windows, float64), written from the papers' formulas."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import nn

from pam.networks import initialise
from pam.networks.aunet import GatedSkip
from pam.networks.backbone import Unet
from pam.networks.blocks import ConvBlock, InstanceNorm
from pam.networks.cbamunet import BlockAttention
from pam.networks.cscunet import SqueezeExcitation
from pam.networks.fpa import FalsePositiveAttention
from pam.networks.gcnunet import GlobalContext
from pam.networks.rfna import DownsampledAttention, ReverseFalseNegativeAttention

Weights = Mapping[str, np.ndarray]


def conv(x: np.ndarray, weight: np.ndarray, *, stride: int = 1, dilation: int = 1, bias: np.ndarray | None = None):
    """Windows times kernel; one input channel per output in the weight means depth-wise."""
    size = weight.shape[2]
    pad = dilation * (size // 2)
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    reach = dilation * (size - 1) + 1
    windows = np.lib.stride_tricks.sliding_window_view(x, (reach, reach), axis=(2, 3))
    windows = windows[:, :, ::stride, ::stride, ::dilation, ::dilation]
    if weight.shape[1] == 1 and x.shape[1] == weight.shape[0]:
        out = np.einsum("bchwij,cij->bchw", windows, weight[:, 0])
    else:
        out = np.einsum("bchwij,ocij->bohw", windows, weight)
    return out if bias is None else out + bias[None, :, None, None]


def norm(x: np.ndarray, weight: np.ndarray | float = 1.0, bias: np.ndarray | float = 0.0, axes=(2, 3)) -> np.ndarray:
    centred = x - x.mean(axis=axes, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(axis=axes, keepdims=True) + 1e-5)
    return scaled * np.reshape(weight, (1, -1, 1, 1)) + np.reshape(bias, (1, -1, 1, 1))


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def upsampled(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear with aligned corners: one interpolation matrix per axis."""

    def matrix(inputs: int, outputs: int) -> np.ndarray:
        where = np.arange(outputs) * ((inputs - 1) / (outputs - 1) if outputs > 1 else 0)
        return relu(1 - np.abs(where[:, None] - np.arange(inputs)))

    return np.einsum("yi,xj,bcij->bcyx", matrix(x.shape[2], height), matrix(x.shape[3], width), x)


def block(x: np.ndarray, w: Weights, prefix: str = "", *, stride: int = 1, dilation: int = 1) -> np.ndarray:
    for number, step in ((1, stride), (2, 1)):
        x = conv(x, w[f"{prefix}conv{number}.weight"], stride=step, dilation=dilation)
        x = relu(norm(x, w[f"{prefix}norm{number}.weight"], w[f"{prefix}norm{number}.bias"]))
    return x


def check(module: nn.Module, reference, *shapes: tuple[int, ...]) -> None:
    """The module in float64, all its weights random (scales and shifts of norms too), against the reference."""
    generator = torch.Generator().manual_seed(0)
    module.double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    inputs = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    weights = {name: value.numpy() for name, value in module.state_dict().items()}
    with torch.no_grad():
        found = module(*inputs).numpy()
    np.testing.assert_allclose(found, reference(weights, *(x.numpy() for x in inputs)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 6), (2, 9)])
def test_conv_block_is_twice_convolve_normalise_rectify(stride, dilation):
    check(
        ConvBlock(3, 4, stride, dilation=dilation),
        lambda w, x: block(x, w, stride=stride, dilation=dilation),
        (2, 3, 12, 10),
    )


def test_instance_norm_of_a_single_position_is_its_shift():
    check(InstanceNorm(3, affine=True), lambda w, x: np.zeros_like(x) + w["bias"].reshape(1, 3, 1, 1), (2, 3, 1, 1))


@pytest.mark.parametrize("depthwise", [True, False])
@pytest.mark.parametrize(("stride", "dilation", "expansion"), [(2, 6, 1), (2, 9, 4), (1, 12, 2)])
def test_fpa_is_equation_1_with_one_dilated_kernel_used_twice(stride, dilation, expansion, depthwise):
    def equation(w, x):
        features = block(x, w, "main.", stride=stride)
        a = conv(x, w["attention.expand.weight"], stride=stride)
        for _ in range(2):
            a = conv(a, w["attention.dilated.weight"], dilation=dilation)
            a = relu(norm(a, w["attention.norm.weight"], w["attention.norm.bias"]))
        return features * sigmoid(conv(a, w["attention.reduce.weight"])) + features

    module = FalsePositiveAttention(3, 4, stride, dilation=dilation, expansion=expansion, depthwise=depthwise)
    check(module, equation, (2, 3, 16, 12))


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("depthwise", [True, False])
@pytest.mark.parametrize("ratio", [2, 4, 8])
def test_rfna_is_equation_2_which_upsamples_before_it_reduces(ratio, depthwise, shared):
    def equation(w, x):
        features = block(x, w, "main.", stride=2)
        a = conv(features, w["attention.expand.weight"], stride=2)
        for step in range({2: 0, 4: 1, 8: 2}[ratio]):
            a = conv(a, w[f"attention.down.{0 if shared else step}.weight"], stride=2)
            a = relu(norm(a, w[f"attention.norms.{step}.weight"], w[f"attention.norms.{step}.bias"]))
        a = conv(upsampled(a, 20, 10), w["attention.reduce.weight"])
        return features * sigmoid(a + features) + features

    attention = DownsampledAttention(4, ratio=ratio, expansion=2, depthwise=depthwise, shared_kernel=shared)
    check(ReverseFalseNegativeAttention(3, 4, 2, attention), equation, (2, 3, 40, 20))  # 20 × 10 is not divisible by 8


def test_attention_gate_is_oktays_added_to_the_skip():
    def gate(w, skip, deeper):
        def term(name, x):
            return norm(conv(x, w[f"attention.{name}.weight"], bias=w[f"attention.{name}.bias"]))

        return skip * sigmoid(term("reduce", relu(term("query", deeper) + term("key", skip)))) + skip

    check(GatedSkip(6, 5), gate, (2, 6, 4, 8), (2, 5, 4, 8))


def test_scse_is_the_sum_of_both_excitations():
    def excited(w, x):
        pooled = np.einsum("bchw->bc", x)[..., None, None] / (x.shape[2] * x.shape[3])
        channel = conv(relu(conv(pooled, w["channel.squeeze.weight"])), w["channel.excite.weight"])
        return x * sigmoid(conv(x, w["spatial.squeeze.weight"])) + x * sigmoid(channel)

    check(SqueezeExcitation(16), excited, (2, 16, 5, 4))


def test_cbam_weights_channels_then_positions_and_adds_the_input():
    def attended(w, x):
        def perceptron(pooled):
            return conv(relu(conv(pooled, w["channel.squeeze.weight"])), w["channel.excite.weight"])

        mean, largest = (f(x, axis=(2, 3), keepdims=True) for f in (np.mean, np.max))
        refined = x * sigmoid(perceptron(mean) + perceptron(largest))
        pooled = np.concatenate([f(refined, axis=1, keepdims=True) for f in (np.mean, np.max)], axis=1)
        return refined * sigmoid(conv(pooled, w["spatial.conv.weight"])) + x

    check(BlockAttention(32), attended, (2, 32, 5, 4))


@pytest.mark.parametrize("size", [(5, 4), (1, 1)])
def test_global_context_multiplies_by_the_transformed_attention_pooled_vector(size):
    def attended(w, x):
        score = conv(x, w["position.score.weight"])
        weights = np.exp(score - score.max(axis=(2, 3), keepdims=True))
        weights /= weights.sum(axis=(2, 3), keepdims=True)
        context = np.einsum("bchw,bhw->bc", x, weights[:, 0])[..., None, None]
        hidden = conv(context, w["channel.squeeze.weight"])
        hidden = relu(norm(hidden, w["channel.norm.weight"], w["channel.norm.bias"], axes=(1, 2, 3)))
        return conv(hidden, w["channel.excite.weight"]) * x + x

    check(GlobalContext(16), attended, (2, 16, *size))


def test_unet_joins_each_skip_with_the_deeper_feature_at_its_size():
    def unet(w, x):
        skips = []
        for number in (1, 2, 3, 4):
            x = block(x, w, f"encoder{number}.", stride=1 if number == 1 else 2)
            skips.append(x)
        x = block(x, w, "bridge.")
        for number in (3, 2, 1):
            skip = skips[number - 1]
            x = block(np.concatenate([skip, upsampled(x, *skip.shape[2:])], axis=1), w, f"decoder{number}.")
        return conv(x, w["head.weight"])

    check(Unet(3, width=2, out_channels=2), unet, (1, 3, 16, 32))


@pytest.mark.parametrize("layer", [nn.Conv2d(6, 4, 3), nn.Conv2d(4, 4, 3, groups=4, bias=False), nn.Linear(7, 3)])
def test_first_weights_have_the_range_of_pytorchs_own(layer):
    bound = np.sqrt(1 / np.prod(layer.weight.shape[1:]))
    own = layer.weight.detach().abs().max().item()
    initialise(layer, torch.Generator().manual_seed(0))
    drawn = layer.weight.detach().abs()
    assert own <= bound and drawn.max() <= bound and drawn.mean().item() == pytest.approx(bound / 2, rel=0.35)
