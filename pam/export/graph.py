"""The networks of an ensemble as one ONNX file, held against the networks themselves in onnxruntime."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pam.errors import ResultsError
from pam.networks import size_multiple

TOLERANCE = 1e-4  # of a probability: float32 in another order of operations; a hundredth of what a figure shows
INPUT, OUTPUTS = "images", ("probability", "disagreement")
EXTRA = "pip install 'pam-ablation[onnx]'"


class Averaged(nn.Module):
    """Images b c h w → mean foreground probability over the networks, and its SD over them, both b 1 h w."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        probabilities = torch.stack([member(images).sigmoid() for member in self.members])
        mean = probabilities.mean(dim=0)
        return mean, (probabilities - mean).square().mean(dim=0).sqrt()


def write(members: Sequence[nn.Module], image: tuple[int, int, int], path: Path) -> float:
    """Write the networks, trained on images of this shape (c h w), as one graph for any batch, height and width.

    Height and width are multiples of `size_multiple`. Returns the largest difference that `difference` finds.
    Raises `ResultsError` where a network cannot be exported, or gives other probabilities than in PyTorch.
    """
    network = Averaged(members).float().eval()
    _export(network, image, path)
    found = difference(network, path, image)
    if not found <= TOLERANCE:
        raise ResultsError(
            f"{path.name}: its probabilities differ by {found:.2g} from the networks'; expected {TOLERANCE:g} at most: "
            "does a network choose its operations by the size or the values of its input? --only weights leaves it out"
        )
    return found


def difference(network: Averaged, path: Path, image: tuple[int, int, int]) -> float:
    """Largest absolute difference of the outputs on normal noise: of this shape, another, and two at once."""
    session = _session(path)
    channels, height, width = image
    shapes = [(1, channels, height, width), (2, channels, height + size_multiple, width + 3 * size_multiple)]
    generator = torch.Generator().manual_seed(0)
    worst = 0.0
    for shape in shapes:
        images = torch.randn(shape, generator=generator)
        with torch.inference_mode():
            expected = network(images)
        found = session.run(list(OUTPUTS), {INPUT: images.numpy()})
        pairs = zip(expected, found, strict=True)
        worst = max(worst, *(float(np.abs(ours.numpy() - theirs).max()) for ours, theirs in pairs))
    return worst


def _export(network: Averaged, image: tuple[int, int, int], path: Path) -> None:
    try:
        import onnxscript  # noqa: F401, PLC0415  # an extra: told here, not by torch's own words
    except ImportError as error:
        raise _lacks(error) from error
    # It tells of torchvision's operations, which no network here has.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    size = {axis: size_multiple * torch.export.Dim(name) for axis, name in ((2, "rows"), (3, "columns"))}
    # Two images, at two sizes that differ: a dimension of one, or two alike, would be taken for constants.
    example = torch.zeros(2, image[0], image[1], image[2] + size_multiple)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program: Any = torch.onnx.export(
                network,
                (example,),
                input_names=[INPUT],
                output_names=list(OUTPUTS),
                dynamic_shapes=({0: torch.export.Dim("batch"), **size},),
                dynamo=True,
                verbose=False,
            )
            program.save(str(path))
    except (RuntimeError, ValueError) as error:
        words = (str(error).splitlines() or [type(error).__name__])[0]
        raise ResultsError(
            f"{path.name}: torch cannot export the network ({words}); --only weights leaves ONNX out"
        ) from error


def _session(path: Path) -> Any:
    try:
        import onnxruntime  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise _lacks(error) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _lacks(error: ImportError) -> ResultsError:
    return ResultsError(f"ONNX takes {error.name}, which is not installed: {EXTRA}; or --only weights")
