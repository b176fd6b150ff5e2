"""Losses by name: (logits b 1 h w, target b 1 h w in {0, 1}) → scalar."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from pam.registry import Registry

Loss = Callable[[Tensor, Tensor], Tensor]
LOSSES: Registry[Tensor] = Registry("loss")

SMOOTHING = 1.0  # paper_facts: Dice with smoothing 1, so that an empty batch that is predicted empty costs nothing


@LOSSES.register
def dice(logits: Tensor, target: Tensor) -> Tensor:
    """1 − soft Dice, pooled over the whole batch, on the sigmoid; in float32 whatever the logits' type.

    Source: Milletari et al. (2016), batch-wise as in the paper's code. Differs: the denominator is not squared.
    """
    probability = logits.float().sigmoid()
    overlap = (probability * target).sum()
    return 1 - (2 * overlap + SMOOTHING) / (probability.sum() + target.sum() + SMOOTHING)


def loss_of(network: nn.Module, name: str) -> Loss:
    """The named loss as this network is trained with it: on reversed labels (background = 1) if it asks for that.

    A network with an attribute `reversed_labels` that is true still outputs foreground logits; the logits of the
    background are their negative, since 1 − sigmoid(z) = sigmoid(−z). Source: Xu et al. (2020), section 3.2.
    """
    loss: Loss = LOSSES.get(name)
    if not getattr(network, "reversed_labels", False):
        return loss
    return lambda logits, target: loss(-logits, 1 - target)
