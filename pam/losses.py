"""Losses by name: (logits b 1 h w, target b 1 h w in {0, 1}) → scalar."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from pam.registry import Registry

Loss = Callable[[Tensor, Tensor], Tensor]
LOSSES: Registry[Tensor] = Registry("loss")

SMOOTHING = 1.0  # paper_facts: Dice with smoothing 1, so that an empty batch that is predicted empty costs nothing


@LOSSES.register
def dice(logits: Tensor, target: Tensor) -> Tensor:
    """1 − soft Dice, pooled over the whole batch, on the sigmoid; in float32 whatever the logits' type.

    Source: Milletari et al. (2016), in the batch-wise form of the paper's code. Differs: the denominator is not squared.
    """
    probability = logits.float().sigmoid()
    overlap = (probability * target).sum()
    return 1 - (2 * overlap + SMOOTHING) / (probability.sum() + target.sum() + SMOOTHING)
