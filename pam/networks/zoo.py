"""The networks by name. A network registers itself in its own file; user packages through the entry point group."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pam.errors import StudyError
from pam.networks.cost import device_of
from pam.networks.weights import initialise
from pam.registry import Registry

NETWORKS: Registry[nn.Module] = Registry("network", group="pam.networks")
SMALL = 4 * 128 * 128  # numbers in an image that a CPU is done with before PyTorch has imported what "meta" takes


def build(name: str, in_channels: int, *, generator: torch.Generator | None = None, **options: Any) -> nn.Module:
    """A network by its registered name, or by `module:function`; its output are foreground logits, b 1 h w.

    With a generator all weights come from it: this project's networks are initialised from it, and one from outside
    keeps the first weights that its own code gives it, with PyTorch's global draws made a function of the generator.
    Without one they are as the builder left them.
    Raises `StudyError` for a name or an option that does not exist and for values that cannot be built.
    """
    if generator is None:
        return NETWORKS.build(name, in_channels, **options)
    if NETWORKS.code(name):
        with _drawing_from(generator):
            return NETWORKS.build(name, in_channels, **options)
    network = NETWORKS.build(name, in_channels, **options)
    initialise(network, generator)
    return network


def sketch(name: str, in_channels: int, **options: Any) -> nn.Module:
    """The network for its structure alone, in evaluation mode: on the meta device, so without memory.

    One from outside is built on the CPU: its code may need real numbers. Raises as `build`, and for no module.
    """
    return _untrained(name, in_channels, "meta", options)


def check(name: str, image: tuple[int, int, int], **options: Any) -> None:
    """Raise `StudyError` unless the network can be built and gives one logit per pixel of an image (c h w)."""
    network = _untrained(name, image[0], "cpu" if math.prod(image) <= SMALL else "meta", options)
    with torch.no_grad():
        logits = network(torch.zeros(1, *image, device=device_of(network)))
    expected = (1, 1, *image[1:])
    found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if found != expected:
        raise StudyError(
            f"network {name!r} with options {options} returned {found} for one image of shape {image}; "
            f"expected foreground logits of shape {expected}"
        )


def _untrained(name: str, in_channels: int, device: str, options: Mapping[str, Any]) -> nn.Module:
    with torch.device("cpu" if NETWORKS.code(name) else device), _drawing_from(torch.Generator("cpu")):
        network = NETWORKS.build(name, in_channels, **options)
    if not isinstance(network, nn.Module):
        raise StudyError(f"network {name!r} returned {type(network).__name__}; expected a torch.nn.Module")
    return network.eval()


def names() -> tuple[str, ...]:
    """Every registered network, those of installed packages included."""
    return NETWORKS.names()


@contextmanager
def _drawing_from(generator: torch.Generator) -> Iterator[None]:
    """PyTorch's global draws on the CPU are a function of the generator within, and go on as before afterwards."""
    seed = int(torch.randint(2**63 - 1, (), generator=generator, device="cpu"))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
