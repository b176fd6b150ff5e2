"""`pam.metrics.hd95` against MedPy's, whose definition it shares, on lesions with rough borders, in one run.

    python tests/benchmarks/hd95.py

Both take turns on the same pair; the ratio is taken turn by turn and its median is quoted.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
from medpy.metric.binary import hd95 as medpy_hd95
from scipy import ndimage

from pam.metrics import Mask, hd95


def lesion(shape: tuple[int, ...], radius: float, shift: float, generator: np.random.Generator) -> Mask:
    """A ball in the middle, moved by `shift` along every axis, its border roughened by smooth noise."""
    grid = np.indices(shape)
    from_centre = np.sqrt(sum(((g - side / 2 - shift) / radius) ** 2 for g, side in zip(grid, shape, strict=True)))
    noise = ndimage.gaussian_filter(generator.normal(size=shape), 4)
    return np.asarray(from_centre + 0.35 * noise / noise.std() < 1)


def seconds(call: Callable[[], float]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def compare(shape: tuple[int, ...], radius: float, turns: int) -> None:
    generator = np.random.default_rng(0)
    prediction, target = lesion(shape, radius, 0, generator), lesion(shape, radius, 3, generator)
    spacing = (1.0,) * len(shape)
    assert abs(hd95(prediction, target, spacing) - medpy_hd95(prediction, target, spacing)) < 1e-9
    ours, theirs = [], []
    for _ in range(turns):
        ours.append(seconds(lambda: hd95(prediction, target, spacing)))
        theirs.append(seconds(lambda: medpy_hd95(prediction, target, spacing)))
    ratio = statistics.median(t / o for o, t in zip(ours, theirs, strict=True))
    print(
        f"{'×'.join(map(str, shape))}: pam {1000 * statistics.median(ours):.2f} ms, "
        f"MedPy {1000 * statistics.median(theirs):.2f} ms, ratio {ratio:.1f}"
    )


if __name__ == "__main__":
    compare((160, 160), radius=20, turns=50)
    compare((240, 240, 155), radius=28, turns=5)
