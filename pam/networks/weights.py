"""First weights from an explicit generator: PyTorch's default distributions, never its global state."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from pam.errors import StudyError


@torch.no_grad()
def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """Draw every weight of the network anew, in the order of its modules.

    The same generator state gives the same weights, whatever device and memory format the parameters have: the
    generator is a CPU one. A module that holds parameters of its own and is no convolution, linear layer or norm must
    have a method `initialise(generator)`; `StudyError` if it has none.
    """
    for name, module in network.named_modules():
        own = getattr(module, "initialise", None)
        if own is not None:
            own(generator)
        elif isinstance(module, (_ConvNd, nn.Linear)):
            _draw(module.weight, _fan_in(module), generator)
            if module.bias is not None:
                _draw(module.bias, _fan_in(module), generator)
        elif isinstance(module, (_NormBase, nn.GroupNorm, nn.LayerNorm)):
            module.reset_parameters()  # ones and zeros: nothing is drawn
        elif list(module.parameters(recurse=False)):
            raise StudyError(
                f"network module {name or 'itself'!r} ({type(module).__name__}) holds parameters whose first values "
                "are unknown; expected a convolution, linear layer or norm: give it a method initialise(generator)"
            )


def _fan_in(module: _ConvNd | nn.Linear) -> int:
    """Inputs per output as PyTorch counts them: the weight's second axis times the kernel's area."""
    return math.prod(module.weight.shape[1:])


def _draw(parameter: Tensor, fan_in: int, generator: torch.Generator) -> None:
    """Uniform in ±1/√fan_in: what `nn.Conv2d` and `nn.Linear` draw (Kaiming uniform with a = √5)."""
    bound = 1 / math.sqrt(fan_in)
    # Drawn in the shape's own order and then copied: the parameter may lie in another memory format or device.
    parameter.copy_(torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator))
