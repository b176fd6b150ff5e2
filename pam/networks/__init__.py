"""The network zoo. Every file of this package is imported here, so that its networks register themselves."""

import importlib
import pkgutil

from pam.networks.backbone import next_size, size_multiple
from pam.networks.inside import attention_maps
from pam.networks.weights import initialise
from pam.networks.zoo import NETWORKS, build, check, names, sketch

__all__ = [
    "NETWORKS",
    "attention_maps",
    "build",
    "check",
    "initialise",
    "names",
    "next_size",
    "size_multiple",
    "sketch",
]

for _module in pkgutil.iter_modules(__path__):
    if not _module.name.startswith("_"):  # __main__ is a command
        importlib.import_module(f"{__name__}.{_module.name}")
