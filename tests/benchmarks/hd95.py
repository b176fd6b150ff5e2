"""`pam.metrics` against MedPy's and MONAI's 95th percentile Hausdorff distances, on lesions with rough borders.

    python tests/benchmarks/hd95.py

All take turns on the same pair in one run, on one thread; ratios are taken turn by turn and their medians quoted.
MedPy shares the definition of `hd95` (pooled), MONAI that of `hd95_directed` (the larger directed percentile): each is
checked against its own before the clock starts. Exits 1 below 4 times MONAI's speed on a slice, or 1.5 times on a case.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
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


def seconds(call: Callable[[], float]) -> float:
    """Of the processor, on one thread: what else the machine does at the time counts less."""
    start = time.process_time()
    call()
    return time.process_time() - start


def compare(shape: tuple[int, ...], radius: float, turns: int) -> float:
    """Print the times, and return how many times faster than MONAI `hd95` is."""
    generator = np.random.default_rng(0)
    prediction, target = lesion(shape, radius, 0, generator), lesion(shape, radius, 3, generator)
    spacing = (1.0,) * len(shape)
    tensors = [torch.from_numpy(mask)[None, None].float() for mask in (prediction, target)]
    ways: dict[str, Callable[[], float]] = {
        "pam": lambda: hd95(prediction, target, spacing),
        "MedPy": lambda: float(medpy_hd95(prediction, target, spacing)),
        "MONAI": lambda: float(compute_hausdorff_distance(*tensors, include_background=True, percentile=95)),
    }
    assert abs(ways["pam"]() - ways["MedPy"]()) < 1e-9
    assert abs(float(score(prediction, target, spacing)["hd95_directed"]) - ways["MONAI"]()) < 1e-4  # type: ignore[arg-type]
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, way in ways.items():
            taken[name].append(seconds(way))
    ratios = {
        name: statistics.median(theirs / ours for ours, theirs in zip(taken["pam"], taken[name], strict=True))
        for name in ("MedPy", "MONAI")
    }
    told = ", ".join(f"{name} {1000 * statistics.median(times):.2f} ms" for name, times in taken.items())
    print(f"{'×'.join(map(str, shape))}: {told}; {ratios['MedPy']:.1f} times MedPy, {ratios['MONAI']:.1f} times MONAI")
    return ratios["MONAI"]


if __name__ == "__main__":
    torch.set_num_threads(1)
    on_slice = compare((160, 160), radius=20, turns=50)
    on_case = compare((240, 240, 155), radius=28, turns=5)
    sys.exit(0 if on_slice >= SLICE and on_case >= CASE else 1)
