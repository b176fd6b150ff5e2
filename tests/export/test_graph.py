"""Networks as ONNX: onnxruntime gives their probabilities, at sizes and batches that the export never saw.

That it does so for the blocks of every network is in `tests/networks/test_compilers.py`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from pam import networks
from pam.errors import ResultsError
from pam.export import graph

IMAGE = (4, 40, 48)
# b c h w. Not below 32: instance norm over a bridge of two positions makes more of a rounding than any tolerance.
OTHERS = ((1, 4, 40, 48), (3, 4, 56, 32), (2, 4, 96, 160))


def run(path: Path, images: Tensor) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["probability", "disagreement"], {"images": images.numpy()})


def test_an_ensemble_gives_the_mean_and_the_deviation_of_its_members_probabilities(tmp_path: Path) -> None:
    both = [networks.build("unet", 4, width=4, generator=torch.Generator().manual_seed(seed)) for seed in range(2)]
    graph.write(both, IMAGE, tmp_path / "two.onnx")
    for shape in OTHERS:
        images = torch.randn(shape, generator=torch.Generator().manual_seed(7))
        with torch.inference_mode():
            each = np.stack([network.eval()(images).sigmoid().numpy() for network in both])
        probability, disagreement = run(tmp_path / "two.onnx", images)
        assert np.abs(probability - each.mean(0)).max() <= graph.TOLERANCE
        assert np.abs(disagreement - each.std(0)).max() <= graph.TOLERANCE
        assert disagreement.max() > 100 * graph.TOLERANCE


class ChoosesBySize(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images[:, :1] * (2 if images.shape[-1] > 64 else 3)


class ChoosesByValue(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images[:, :1] * (2 if float(images.mean()) > 0 else 3)


@pytest.mark.parametrize("network", [ChoosesBySize(), ChoosesByValue()])
def test_a_network_that_no_graph_can_be_is_refused_in_one_line(network: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(ResultsError) as error:
        graph.write([network], IMAGE, tmp_path / "odd.onnx")
    assert "--only weights leaves" in str(error.value)
    assert "\n" not in str(error.value)
