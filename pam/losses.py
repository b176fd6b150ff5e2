"""Losses by name: (logits b 1 h w, target b 1 h w in {0, 1}) → scalar."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from pam.registry import Registry

Loss = Callable[[Tensor, Tensor], Tensor]
LOSSES: Registry[Tensor] = Registry("loss")

SMOOTHING = 1.0  # paper_facts: Dice with smoothing 1, so that an empty batch that is predicted empty costs nothing
TVERSKY_FP, TVERSKY_FN = 0.3, 0.7


@LOSSES.register
def dice(logits: Tensor, target: Tensor) -> Tensor:
    """1 − soft Dice, pooled over the whole batch, on the sigmoid; in float32 whatever the logits' type.

    Source: Milletari et al. (2016), batch-wise as in the paper's code. Differs: the denominator is not squared.
    """
    probability = logits.float().sigmoid()
    overlap = (probability * target).sum()
    return 1 - (2 * overlap + SMOOTHING) / (probability.sum() + target.sum() + SMOOTHING)


@LOSSES.register
def dice_per_image(logits: Tensor, target: Tensor) -> Tensor:
    """1 − soft Dice of each image, averaged: a small lesion counts as much as a large one.

    Source: Milletari et al. (2016). Differs: the denominator is not squared, and the smoothing is 1.
    """
    probability, target = logits.float().sigmoid().flatten(1), target.flatten(1)
    overlap = (probability * target).sum(dim=1)
    return (1 - (2 * overlap + SMOOTHING) / (probability.sum(dim=1) + target.sum(dim=1) + SMOOTHING)).mean()


@LOSSES.register
def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy, averaged over pixels."""
    return functional.binary_cross_entropy_with_logits(logits.float(), target)


@LOSSES.register
def dice_and_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Sum of `dice` and `cross_entropy`.

    Source: Isensee et al. (2021), nnU-Net. Differs: Dice on the foreground alone, with smoothing 1.
    """
    return dice(logits, target) + cross_entropy(logits, target)


@LOSSES.register
def focal(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of each pixel × (1 − probability of its true class)², averaged over pixels.

    Source: Lin et al. (2017), γ = 2. Differs: both classes have the same weight (no α).
    """
    entropy = functional.binary_cross_entropy_with_logits(logits.float(), target, reduction="none")
    return (entropy * (1 - torch.exp(-entropy)).square()).mean()


@LOSSES.register
def tversky(logits: Tensor, target: Tensor) -> Tensor:
    """1 − Tversky index, pooled over the whole batch: a missed pixel costs 7/3 of a falsely found one.

    On reversed labels (RFNA) missed and falsely found pixels of the lesion change places.
    Source: Salehi et al. (2017), α = 0.3 for false positives and β = 0.7 for false negatives. Differs: smoothing 1.
    """
    probability = logits.float().sigmoid()
    overlap = (probability * target).sum()
    wrong = TVERSKY_FP * (probability * (1 - target)).sum() + TVERSKY_FN * ((1 - probability) * target).sum()
    return 1 - (overlap + SMOOTHING) / (overlap + wrong + SMOOTHING)


def loss_of(network: nn.Module, name: str) -> Loss:
    """The named loss as this network is trained with it: on reversed labels (background = 1) if it asks for that.

    A network with an attribute `reversed_labels` that is true still outputs foreground logits; the logits of the
    background are their negative, since 1 − sigmoid(z) = sigmoid(−z). Source: Xu et al. (2020), section 3.2.
    """
    loss: Loss = LOSSES.get(name)
    if not getattr(network, "reversed_labels", False):
        return loss
    return lambda logits, target: loss(-logits, 1 - target)
