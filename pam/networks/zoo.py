"""The networks by name. A network registers itself in its own file; user packages through the entry point group."""

from __future__ import annotations

import torch
from torch import nn

from pam.networks.weights import initialise
from pam.registry import Registry

NETWORKS: Registry[nn.Module] = Registry("network", group="pam.networks")


def build(
    name: str, in_channels: int, *, generator: torch.Generator | None = None, **options: int | bool | str
) -> nn.Module:
    """A network by its registered name, or by `module:function`; its output are foreground logits, b 1 h w.

    With a generator all weights come from it; without one they are as the builder left them (PyTorch's global draws).
    Raises `StudyError` for a name or an option that does not exist and for values that cannot be built.
    """
    network = NETWORKS.build(name, in_channels, **options)
    if generator is not None:
        initialise(network, generator)
    return network


def names() -> tuple[str, ...]:
    """Every registered network, those of installed packages included."""
    return NETWORKS.names()
