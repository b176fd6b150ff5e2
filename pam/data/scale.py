"""A modality's normalisation over its case, and what is lost where float16 holds the result."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

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
    flat = _as_in_memory(voxels)
    low, high = flat.min().item(), flat.max().item()
    few_values = flat.dtype.kind in "iu" and flat.itemsize <= 2
    with np.errstate(over="ignore", invalid="ignore"):  # told below, by the deviation
        count, mean, variance = (_exact_moments if few_values else _moments)(flat, zero_outside)
    if variance <= (ALIKE * mean) * (ALIKE * mean):  # the sums of a constant need not be exact
        counted = flat[flat != 0] if zero_outside else flat
        if count == 0 or counted.min() == counted.max():
            value = counted[0] if count else "zero"
            raise DataError(
                f"modality {name} is {value} everywhere; expected a scan, restore the file or remove the case"
            )
    deviation = math.sqrt(variance)
    if not float(np.finfo(np.float32).tiny) < deviation < float(np.finfo(np.float32).max):
        raise DataError(f"modality {name} has a standard deviation of {deviation:.3g}; is the file damaged?")
    if zero_outside and low == 0 and mean > high - mean:
        low = flat[flat != 0].min().item()
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
    settings["loss"] = _loss(flat, made)
    if not settings["loss"] <= LOSS_MAX:
        raise DataError(
            f"modality {name} has a voxel {made.largest:.3g} standard deviations from its mean, so that float16 would "
            f"blur the middle half of its voxels by {settings['loss']:.1%} of their spread; expected at most "
            f"{LOSS_MAX:.0%}: is the file damaged?"
        )
    return Scale(**settings, table=_table(made, low, high, flat.dtype) if few_values else None)


def _table(how: Scale, low: int, high: int, dtype: np.dtype) -> np.ndarray:
    """Float16 of every value from low to high, at the value's own index."""
    values = np.arange(min(low, 0), max(high, 0) + 1).astype(dtype)
    table = np.empty(len(values), np.float16)
    table[values.astype(np.intp)] = how.apply(values)
    return table


def _exact_moments(flat: np.ndarray, zero_outside: bool) -> tuple[int, float, float]:
    """Number, mean and variance of the voxels that count: of integers, whose sums float64 holds exactly."""
    count = int(np.count_nonzero(flat)) if zero_outside else flat.size
    total = squares = 0
    for first in range(0, flat.size, CHUNK):
        chunk = flat[first : first + CHUNK].astype(np.float64)
        total += int(chunk.sum())
        squares += int(np.square(chunk, out=chunk).sum())  # not `@`: BLAS would start threads, which other workers need
    if count == 0:
        return 0, 0.0, 0.0
    return count, total / count, (count * squares - total * total) / (count * count)


def _moments(flat: np.ndarray, zero_outside: bool) -> tuple[int, float, float]:
    """As `_exact_moments`, of any numbers, by a pass for the mean and one for the variance."""
    count = int(np.count_nonzero(flat)) if zero_outside else flat.size
    if count == 0:
        return 0, 0.0, 0.0
    chunks = [flat[first : first + CHUNK] for first in range(0, flat.size, CHUNK)]
    mean = sum(float(chunk.sum(dtype=np.float64)) for chunk in chunks) / count
    squares = 0.0
    for chunk in chunks:
        offset = chunk - np.float64(mean)
        if zero_outside:
            offset[chunk == 0] = 0
        squares += float(np.square(offset, out=offset).sum())
    return count, mean, squares / count


def _loss(flat: np.ndarray, how: Scale) -> float:
    """The rounding error (root mean square) of the middle half of the voxels, as a share of that half's spread.

    A share of the deviation would hide a loss where a few voxels stretch the deviation itself.
    """
    sample = flat[:: max(1, flat.size // SAMPLE)]
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


def _as_in_memory(voxels: np.ndarray) -> np.ndarray:
    """The voxels, one-dimensional, in the order in which they lie in memory: several times as fast to pass over."""
    forward = voxels[tuple(slice(None, None, -1 if stride < 0 else 1) for stride in voxels.strides)]
    return forward.transpose(np.argsort(-np.array(forward.strides), kind="stable")).reshape(-1)
