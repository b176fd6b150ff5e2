"""The compiler's own backend, and ONNX, on one network that has the blocks of them all.

Both take longer the more kernels or nodes there are, and every network is the same backbone: one that has each block
at one stage meets what any of them would. That each network is one graph, also for an export, is in
`test_every_network.py`; ensembles as ONNX are in `tests/export/test_graph.py`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from pam import networks
from pam.export import graph
from pam.networks.aunet import GatedSkip
from pam.networks.backbone import Unet
from pam.networks.blocks import Attention, ConvBlock, followed_by
from pam.networks.cbamunet import BlockAttention
from pam.networks.cscunet import SqueezeExcitation
from pam.networks.fpa import FalsePositiveAttention
from pam.networks.gcnunet import GlobalContext
from pam.networks.rfna import DownsampledAttention, ReverseFalseNegativeAttention

# All kernels in one C++ file, which the C++ compiler does not optimise: they compute the same.
QUICKLY = {"cpp_wrapper": True, "aot_inductor.debug_compile": True}
SEED = 3  # with which no rectifier is shut for all positions, so that a gradient reaches every weight
# b c h w; the network is said to have been trained on the first. Not smaller: of a norm over two positions a rounding
# makes more than any tolerance.
SHAPES = ((1, 4, 40, 48), (3, 4, 56, 32), (2, 4, 96, 160))


def downsampling(inputs: int, outputs: int, stride: int) -> nn.Module:
    attention = DownsampledAttention(outputs, ratio=8, expansion=8, depthwise=True, shared_kernel=True)
    return ReverseFalseNegativeAttention(inputs, outputs, stride, attention)


def every_block() -> nn.Module:
    """A U-net with each network's block at one stage; the one that shrinks its features where they are large."""
    network = Unet(
        4,
        width=4,
        out_channels=1,
        blocks={
            "encoder1": followed_by(BlockAttention),
            "encoder2": downsampling,
            "encoder3": partial(FalsePositiveAttention, dilation=9, expansion=4, depthwise=True),
            "encoder4": followed_by(SqueezeExcitation),
            "bridge": followed_by(GlobalContext),
            "decoder3": partial(ConvBlock, dilation=6),
        },
        gate=GatedSkip,
        reversed_labels=True,
    )
    networks.initialise(network, torch.Generator().manual_seed(SEED))
    return network.eval()


def test_it_has_every_kind_of_attention_that_a_network_has():
    def kinds(network: nn.Module) -> set[type]:
        return {type(module) for module in network.modules() if isinstance(module, Attention)}

    assert kinds(every_block()) == set().union(*(kinds(networks.sketch(name, 4)) for name in networks.names()))


@pytest.mark.slow
@pytest.mark.timeout(900)  # it compiles C++ for most of its time, which a busy machine stretches
def test_inductor_gives_the_same_logits_and_gradients():
    network = every_block().double()
    images = torch.randn(1, 4, 128, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weights = list(network.parameters())
    expected = network(images)
    gradients = torch.autograd.grad(expected.sum(), weights)
    assert all(gradient.any() for gradient in gradients)
    found = torch.compile(network, fullgraph=True, options=QUICKLY)(images)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found.sum(), weights), gradients)
    torch.compiler.reset()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_onnxruntime_gives_the_same_probabilities_at_sizes_that_the_export_never_saw(tmp_path: Path):
    network = every_block()
    assert graph.write([network], SHAPES[0][1:], tmp_path / "one.onnx") <= graph.TOLERANCE
    session = onnxruntime.InferenceSession(str(tmp_path / "one.onnx"), providers=["CPUExecutionProvider"])
    for shape in SHAPES:
        images = torch.randn(shape, generator=torch.Generator().manual_seed(7))
        with torch.inference_mode():
            expected = network(images).sigmoid().numpy()
        probability, disagreement = session.run(["probability", "disagreement"], {"images": images.numpy()})
        assert np.abs(probability - expected).max() <= graph.TOLERANCE
        assert not disagreement.any()
