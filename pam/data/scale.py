"""A modality's normalisation over its case, and what is lost where float16 holds the result."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pam.data.pieces import chunks, flat
from pam.errors import DataError

FLOAT16_MAX = float(np.finfo(np.float16).max)
# Rounding may blur a modality by this share of its middle half's spread: far below the noise of any scanner, and far
# above what real scans lose (about a hundredth of it).
LOSS_MAX = 0.01
SAMPLE = 2**16  # voxels that the loss is measured on, evenly spread over the scan
ALIKE = 1e-6  # of the mean: a smaller deviation may be that of a constant
CHUNK = 2**16  # voxels that are summed at once: they stay in a core's cache


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What brings a modality to mean 0 and deviation 1."""

    mean: float
    deviation: float
    zero_outside: bool  # whether zero is no intensity: it stays zero
    largest: float  # no voxel lies more deviations from the mean
    loss: float = math.nan  # of the middle half, see `_loss`
    table: np.ndarray | None = None  # float16 of each value, for integers of at most 16 bits: they repeat

    def apply(self, voxels: np.ndarray) -> np.ndarray:
        """The voxels in float16. Their type is that of the scan that the scale was made of."""
        if self.table is not None:
            return self.table.take(voxels)  # a negative value counts from the table's end
        normal = voxels.astype(np.float32)
        normal -= np.float32(self.mean)
        normal /= np.float32(self.deviation)
        if self.zero_outside:
            normal[voxels == 0] = 0
        return normal.astype(np.float16)


def scale(voxels: np.ndarray, name: str, *, zero_outside: bool) -> Scale:
    """The scale of a modality (d h w).

    Raises `DataError`, without the case's name, for a modality that cannot be normalised, or not be held in float16.
    """
    values = flat(voxels)
    low, high = _range(values, zero_outside=False)
    few_values = values.dtype.kind in "iu" and values.itemsize <= 2
    with np.errstate(over="ignore", invalid="ignore"):  # told below, by the deviation
        count, mean, variance = (_exact_moments if few_values else _moments)(values, zero_outside)
    if variance <= (ALIKE * mean) * (ALIKE * mean):  # the sums of a constant need not be exact
        lowest, highest = _range(values, zero_outside) if count else (0, 0)
        if lowest == highest:
            value = values.dtype.type(lowest) if count else "zero"
            raise DataError(
                f"modality {name} is {value} everywhere; expected a scan, restore the file or remove the case"
            )
    deviation = math.sqrt(variance)
    if not float(np.finfo(np.float32).tiny) < deviation < float(np.finfo(np.float32).max):
        raise DataError(f"modality {name} has a standard deviation of {deviation:.3g}; is the file damaged?")
    if zero_outside and low == 0 and mean > high - mean:
        low, _ = _range(values, zero_outside)
    settings: dict[str, Any] = {
        "mean": mean,
        "deviation": deviation,
        "zero_outside": zero_outside,
        "largest": max(high - mean, mean - low) / deviation,
    }
    made = Scale(**settings)
    if made.largest > FLOAT16_MAX:
        raise DataError(
            f"modality {name} has a voxel {made.largest:.3g} standard deviations from its mean, more than float16 "
            f"holds ({FLOAT16_MAX:.0f}); is the file damaged?"
        )
    settings["loss"] = _loss(values, made)
    if not settings["loss"] <= LOSS_MAX:
        raise DataError(
            f"modality {name} has a voxel {made.largest:.3g} standard deviations from its mean, so that float16 would "
            f"blur the middle half of its voxels by {settings['loss']:.1%} of their spread; expected at most "
            f"{LOSS_MAX:.0%}: is the file damaged?"
        )
    return Scale(**settings, table=_table(made, int(low), int(high), values.dtype) if few_values else None)


def _table(how: Scale, low: int, high: int, dtype: np.dtype) -> np.ndarray:
    """Float16 of every value from low to high, at the value's own index."""
    values = np.arange(min(low, 0), max(high, 0) + 1).astype(dtype)
    table = np.empty(len(values), np.float16)
    table[values.astype(np.intp)] = how.apply(values)
    return table


def _range(values: np.ndarray, zero_outside: bool) -> tuple[float, float]:
    """The lowest and the highest of the voxels that count; there must be some."""
    counted = (chunk[chunk != 0] if zero_outside else chunk for chunk in chunks(values, CHUNK))
    lowest, highest = zip(*((chunk.min().item(), chunk.max().item()) for chunk in counted if chunk.size), strict=True)
    return min(lowest), max(highest)


def _exact_moments(values: np.ndarray, zero_outside: bool) -> tuple[int, float, float]:
    """Number, mean and variance of the voxels that count: of integers, whose sums float64 holds exactly."""
    count = total = squares = 0
    for chunk in chunks(values, CHUNK):
        count += int(np.count_nonzero(chunk)) if zero_outside else chunk.size
        exact = chunk.astype(np.float64)
        total += int(exact.sum())
        squares += int(np.square(exact, out=exact).sum())  # not `@`: BLAS would start threads, which other workers need
    if count == 0:
        return 0, 0.0, 0.0
    return count, total / count, (count * squares - total * total) / (count * count)


def _moments(values: np.ndarray, zero_outside: bool) -> tuple[int, float, float]:
    """As `_exact_moments`, of any numbers, by a pass for the mean and one for the variance."""
    count = sum(int(np.count_nonzero(chunk)) if zero_outside else chunk.size for chunk in chunks(values, CHUNK))
    if count == 0:
        return 0, 0.0, 0.0
    mean = sum(float(chunk.sum(dtype=np.float64)) for chunk in chunks(values, CHUNK)) / count
    squares = 0.0
    for chunk in chunks(values, CHUNK):
        offset = chunk - np.float64(mean)
        if zero_outside:
            offset[chunk == 0] = 0
        squares += float(np.square(offset, out=offset).sum())
    return count, mean, squares / count


def _loss(values: np.ndarray, how: Scale) -> float:
    """The rounding error (root mean square) of the middle half of the voxels, as a share of that half's spread.

    A share of the deviation would hide a loss where a few voxels stretch the deviation itself.
    """
    step = max(1, values.size // SAMPLE)
    sample = np.concatenate([chunk[::step].copy() for chunk in chunks(values, step * (1 + CHUNK // step))])
    sample = sample[sample != 0] if how.zero_outside else sample
    exact = (sample.astype(np.float64) - how.mean) / how.deviation
    low, high = _quartiles(exact)
    if low == high:  # more than half of the voxels are one value, such as air
        exact, sample = exact[exact != low], sample[exact != low]
        low, high = _quartiles(exact)
    if low == high:  # two values, which stay two
        return 0.0
    middle = (exact >= low) & (exact <= high)
    error = how.apply(sample[middle]) - exact[middle]
    return float(np.sqrt(np.mean(error**2)) / (high - low))


def _quartiles(values: np.ndarray) -> tuple[float, float]:
    """Two of the values, a quarter of them below the one and a quarter above the other."""
    if values.size == 0:
        return 0.0, 0.0
    low, high = np.quantile(values, (0.25, 0.75), method="inverted_cdf")
    return float(low), float(high)
