"""Seeing inside: what modules put out, recorded during an ordinary forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pam.errors import StudyError
from pam.networks.blocks import Attention


def attention_names(network: nn.Module) -> tuple[str, ...]:
    """Names of the network's attention maps, in the order of its modules; none for a plain U-net."""
    return tuple(name for name, module in network.named_modules() if isinstance(module, Attention))


@torch.no_grad()
def attention_maps(network: nn.Module, images: Tensor, names: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Attention maps by name (all of `attention_names` by default) of one forward pass.

    Each is b c h w at its stage's resolution; a map over positions has c = 1, one over channels h = w = 1.
    Raises `StudyError` for a name that the network does not have.
    """
    with recorded(network, attention_names(network) if names is None else names) as maps:
        network(images)
    return maps


def deepest(maps: Mapping[str, Tensor]) -> str | None:
    """Name of the deepest encoder's map over positions (the bridge is one), of those that `attention_maps` returns.

    Of a network that attends in its decoder alone, the deepest there; None where no map is over positions.
    """
    places = [name for name, values in maps.items() if tuple(values.shape[-2:]) != (1, 1)]
    encoder = [name for name in places if name.startswith(("encoder", "bridge"))]
    return encoder[-1] if encoder else next(iter(places), None)


@contextmanager
def recorded(network: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Collect the named modules' outputs of the forward passes made within (of each module the last output).

    Raises `StudyError` for a name that the network does not have.
    """
    modules = dict(network.named_modules())
    unknown = [name for name in names if name not in modules]
    if unknown:
        known = ", ".join(attention_names(network)) or "none"
        raise StudyError(f"no module {unknown[0]!r} in this network; its attention maps are: {known}")
    outputs: dict[str, Tensor] = {}

    def keeper(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        return lambda _module, _inputs, output: outputs.update({name: output})

    handles = [modules[name].register_forward_hook(keeper(name)) for name in names]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
