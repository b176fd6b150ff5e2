"""The training loop: yields one `Epoch` after each pass; knows neither Ray nor MLflow nor files."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pam.data.batches import Batches
from pam.losses import loss_of
from pam.study import Recipe
from pam.train.precision import autocast


class Diverged(ArithmeticError):
    """The loss or a weight became NaN or infinite."""

    def __init__(self, what: str, epoch: int) -> None:
        super().__init__(what, epoch)  # both, so that the exception survives pickling
        self.epoch = epoch

    def __str__(self) -> str:
        return f"{self.args[0]} in epoch {self.epoch}"


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One pass over the training slices."""

    epoch: int  # passes done, from 1
    of: int  # passes in all
    loss: float  # mean over batches
    learning_rate: float
    seconds: float
    slices: int
    validation_dice: float  # NaN after a pass without validation
    state: Mapping[str, Any]  # all it takes to go on exactly; refers to live tensors, so save it before the next pass


def fit(
    network: nn.Module,
    batches: Batches,
    recipe: Recipe,
    *,
    state: Mapping[str, Any] | None = None,
    validate: Callable[[nn.Module], float] | None = None,
) -> Iterator[Epoch]:
    """Train in place for `recipe.epochs` passes, from `state` (an earlier `Epoch.state`) or from the start.

    `validate` scores the network after every `recipe.validate_every` passes and the last one; it must draw nothing.
    When all passes are done, the network has the weights that `recipe.select` names. Raises `Diverged` when an epoch's
    mean loss or a weight after it is not finite.
    """
    device = batches.device
    network.to(device=device, memory_format=memory_format(device))  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=_milestones(recipe))
    done = 0
    if state is not None:
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        batches.generator.set_state(state["generator"])
        done = state["epoch"]
    best = dict((state or {}).get("best", {}))
    for epoch in range(done + 1, recipe.epochs + 1):
        start = time.perf_counter()
        learning_rate = float(scheduler.get_last_lr()[0])
        # What a network draws itself, as dropout does, is PyTorch's global draw: made a function of cell and epoch.
        torch.manual_seed(batches.generator.initial_seed() + epoch)
        loss = _one_pass(network, batches, optimizer, recipe)
        if not math.isfinite(loss):
            raise Diverged(f"the loss became {loss}", epoch)
        if not all(bool(parameter.isfinite().all()) for parameter in network.parameters()):
            raise Diverged("a weight became NaN or infinite", epoch)  # the last step's; its loss was still finite
        scheduler.step()
        seconds = time.perf_counter() - start
        dice = math.nan
        if validate is not None and _validates(epoch, recipe):
            dice = validate(network)
            if recipe.select == "best" and dice > best.get("dice", -math.inf):
                best = {"dice": dice, "network": _copied(network)}
        yield Epoch(
            epoch=epoch,
            of=recipe.epochs,
            loss=loss,
            learning_rate=learning_rate,
            seconds=seconds,
            slices=batches.slices,
            validation_dice=dice,
            state={
                "network": network.state_dict(),
                "optimizer": optimizer.state_dict(),
                "scheduler": scheduler.state_dict(),
                "generator": batches.generator.get_state(),
                "epoch": epoch,
                **({"best": best} if best else {}),
            },
        )
    if best:
        network.load_state_dict(best["network"])


def memory_format(device: torch.device) -> torch.memory_format:
    """How networks and images lie in memory: channels last on a GPU.

    On a CPU a step takes longer in that format: `tests/benchmarks/ways.py`.
    """
    return torch.channels_last if device.type == "cuda" else torch.contiguous_format


def _one_pass(network: nn.Module, batches: Batches, optimizer: torch.optim.Optimizer, recipe: Recipe) -> float:
    network.train()
    loss = loss_of(network, recipe.loss)
    total = torch.zeros((), device=batches.device)  # summed on the device: no wait for it in each step
    layout = memory_format(batches.device)
    for images, target in batches:
        with autocast(batches.device, recipe.precision):
            logits = network(images.contiguous(memory_format=layout))
        value = loss(logits, target)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()
        total += value.detach()
    return float(total) / len(batches)


def _validates(epoch: int, recipe: Recipe) -> bool:
    return recipe.validate_every > 0 and (epoch % recipe.validate_every == 0 or epoch == recipe.epochs)


def _copied(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: values.detach().clone() for name, values in network.state_dict().items()}


def _milestones(recipe: Recipe) -> list[int]:
    if recipe.schedule == "constant":
        return []
    return [recipe.epochs // 2, 3 * recipe.epochs // 4]
