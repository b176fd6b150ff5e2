"""`pam.metrics` against MedPy's and MONAI's 95th percentile Hausdorff distances, on lesions with rough borders.

    python tests/benchmarks/hd95.py

All take turns on the same pair, on one thread, in seconds of the processor. MedPy shares the definition of `hd95`
(pooled), MONAI that of `hd95_directed` (the larger directed percentile): each is checked against its own before the
clock starts.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from measured import Row, faster, finish, in_turns, options
from medpy.metric.binary import hd95 as medpy_hd95
from monai.metrics import compute_hausdorff_distance
from scipy import ndimage

from pam.metrics import Mask, hd95, score

SLICE, CASE = 4.0, 1.5  # times MONAI's speed


def lesion(shape: tuple[int, ...], radius: float, shift: float, generator: np.random.Generator) -> Mask:
    """A ball in the middle, moved by `shift` along every axis, its border roughened by smooth noise."""
    grid = np.indices(shape)
    from_centre = np.sqrt(sum(((g - side / 2 - shift) / radius) ** 2 for g, side in zip(grid, shape, strict=True)))
    noise = ndimage.gaussian_filter(generator.normal(size=shape), 4)
    return np.asarray(from_centre + 0.35 * noise / noise.std() < 1)


def compare(shape: tuple[int, ...], radius: float, turns: int, least: float) -> Iterator[Row]:
    generator = np.random.default_rng(0)
    prediction, target = lesion(shape, radius, 0, generator), lesion(shape, radius, 3, generator)
    spacing = (1.0,) * len(shape)
    tensors = [torch.from_numpy(mask)[None, None].float() for mask in (prediction, target)]
    ways: dict[str, Callable[[], float]] = {
        "MONAI's": lambda: float(compute_hausdorff_distance(*tensors, include_background=True, percentile=95)),
        "MedPy's": lambda: float(medpy_hd95(prediction, target, spacing)),
    }

    def ours() -> float:
        return hd95(prediction, target, spacing)

    assert abs(ours() - ways["MedPy's"]()) < 1e-9
    assert abs(float(score(prediction, target, spacing)["hd95_directed"]) - ways["MONAI's"]()) < 1e-4  # type: ignore[arg-type]
    for name, way in ways.items():
        yield faster(
            f"HD95 of a pair of {'×'.join(map(str, shape))}",
            in_turns(way, ours, turns, time.process_time),
            least=least if name.startswith("MONAI") else None,
            against=name,
        )


def measure(arguments: argparse.Namespace) -> Iterator[Row]:
    yield from compare((160, 160), 20, arguments.slices, least=SLICE)
    yield from compare((240, 240, 155), 28, arguments.cases, least=CASE)


if __name__ == "__main__":
    arguments = options(__doc__, slices=50, cases=5).parse_args()
    torch.set_num_threads(1)
    sys.exit(finish(__file__, measure(arguments), arguments))
