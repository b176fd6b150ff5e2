"""A network that is struck once by a fault, at a given training step. A test copies this file into a folder of its own.

`plan.json` beside it holds the step and the kinds of fault; each cell that comes to that step takes the next kind, and
is struck once, or `again` and again. `steps` counts every forward pass, so a test sees what was computed twice.
"""

import ctypes
import json
import os
import resource
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from pam.networks.zoo import build

HERE = Path(__file__).resolve().parent


class Faulty(nn.Module):
    """The network given, counted and struck. Its first weights name the cell, also after a checkpoint was loaded."""

    key: Tensor

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside
        self.register_buffer("key", torch.zeros((), dtype=torch.int64))
        self.step = 0

    def forward(self, images: Tensor) -> Tensor:
        if not self.key:
            weights = torch.cat([parameter.detach().flatten() for parameter in self.inside.parameters()])
            self.key.fill_(int(weights.double().abs().sum() * 1e6))
        key = int(self.key)
        line = f"{key} {'train' if self.training else 'score'} {os.getpid()}\n"
        with (HERE / "steps").open("a") as file:
            file.write(line)  # one write of few bytes in append mode: lines of several processes do not mix
        self.step += self.training
        spoil = self.training and strike(key, self.step)
        logits: Tensor = self.inside(images)
        return logits * float("nan") if spoil else logits


def faulty(in_channels: int, *, width: int = 4) -> nn.Module:
    return Faulty(build("unet", in_channels, width=width))


def strike(key: int, step: int) -> bool:
    """Whether the output is to be NaN, if nothing worse happens first."""
    path = HERE / "plan.json"
    plan = json.loads(path.read_text()) if path.exists() else {}
    if step != plan.get("step"):
        return False
    for number, kind in enumerate(plan["kinds"]):
        taken = HERE / f"strike-{number}"
        try:
            with taken.open("x") as file:
                file.write(str(key))
            return FAULTS[kind]()
        except FileExistsError:
            if taken.read_text() == str(key):  # this cell was struck before
                return plan["again"] and FAULTS[kind]()
    return False


def raise_error() -> bool:
    raise RuntimeError("struck")


def leave() -> bool:
    os._exit(3)


def segfault() -> bool:
    ctypes.string_at(0)
    return False


def exhaust_memory() -> bool:
    """Allocate more than the process may have: torch's own error, from the system's refusal."""
    limit = 2**35
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    torch.empty(2 * limit, dtype=torch.uint8)
    return False


def pause() -> bool:
    """Wait in the middle of a step until the test lets go."""
    (HERE / "paused").touch()
    while not (HERE / "go").exists():
        time.sleep(0.05)
    return False


def diverge() -> bool:
    return True


FAULTS = {
    "raise": raise_error,
    "exit": leave,
    "segfault": segfault,
    "memory": exhaust_memory,
    "pause": pause,
    "diverge": diverge,
}
