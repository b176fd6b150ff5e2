"""What a network costs per image: operations and memory; counted without running it if it is on the meta device."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

Images = tuple[int, int, int]  # c h w
GROUPS = {
    torch.ops.aten.convolution.default: 8,
    torch.ops.aten.convolution_backward.default: 9,
}  # place of the argument
TRAINING = 3  # forward passes that a training step amounts to: the gradients take twice what the forward pass does


def flop(network: nn.Module, image: Images) -> int:
    """Floating-point operations of one forward pass on one image; a multiplication and its addition are two.

    As in torch's counter, convolutions and matrix products count, and nothing else.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, *image, device=device_of(network)))
    return int(counter.get_total_flops())


@dataclass(frozen=True, kw_only=True)
class Work:
    """What training on one float32 image takes, forward and backward, on whatever device."""

    flop: int  # `TRAINING` times that of a forward pass: torch's counter knows no groups in a convolution's gradients
    operations: int
    parameters: int
    # Bytes that operations read and write, each of their tensors once, by what moves them.
    convolved: int  # dense convolutions: on a CPU their FLOP take longer
    depthwise: int  # convolutions in groups: they do little with what they read, and that in their own way
    resized: int  # up-sampling
    pointwise: int  # all else

    @property
    def moved(self) -> int:
        return self.convolved + self.depthwise + self.resized + self.pointwise


def training_work(network: nn.Module, image: Images) -> Work:
    """Counted by running it once; a network on the meta device takes neither time nor memory."""
    images = torch.zeros(1, *image, device=device_of(network))
    traffic = _Traffic()
    with traffic:
        logits = network(images)
    upstream = torch.empty_like(logits)
    with traffic:
        logits.backward(upstream)
    for parameter in network.parameters():
        parameter.grad = None
    return Work(
        flop=TRAINING * flop(network, image),
        operations=traffic.operations,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        **traffic.moved,
    )


def peak_activation_bytes(network: nn.Module, image: Images) -> int:
    """Largest number of bytes alive at once while one float32 image is trained on, forward and backward.

    Counts feature maps, what is kept for the backward pass, and gradients of feature maps; not the image and the
    weights, and a weight's gradient only until it is accumulated. What a convolution's
    implementation takes for itself while it runs is not seen.
    """
    images = torch.zeros(1, *image, device=device_of(network))
    parameters = list(network.parameters())
    with _PeakBytes(ignore=[images, *parameters]) as memory:
        logits = network(images)
        hooks = [parameter.register_post_accumulate_grad_hook(memory.forget_gradient) for parameter in parameters]
        logits.backward(torch.empty_like(logits))
    for hook, parameter in zip(hooks, parameters, strict=True):
        hook.remove()
        parameter.grad = None
    return int(memory.peak)


def device_of(network: nn.Module) -> torch.device:
    """Where the network's first parameter is; the CPU if it has none."""
    return next((parameter.device for parameter in network.parameters()), torch.device("cpu"))


class _Traffic(TorchDispatchMode):
    """Adds up the bytes of operations' tensors; views move nothing."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.moved = dict.fromkeys(("convolved", "depthwise", "resized", "pointwise"), 0)
        self.operations = 0

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if not func.is_view:  # type: ignore[attr-defined]
            tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
            self.moved[_kind(func, args)] += sum(map(_bytes, tensors))
            self.operations += 1
        return result


def _kind(func: Callable[..., Any], args: Sequence[Any]) -> str:
    """What an operation does with its bytes, as `Work` tells them apart."""
    if func in GROUPS:
        return "depthwise" if args[GROUPS[func]] > 1 else "convolved"
    return "resized" if "upsample" in str(func) else "pointwise"


def _bytes(tensor: Tensor) -> int:
    """What it takes to read the tensor; of one that is spread over positions by broadcasting, what there is to read."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


class _PeakBytes(TorchDispatchMode):
    """Follows the storages that operations make, until they are freed."""

    def __init__(self, ignore: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._alive: dict[int, int] = {}  # storage → bytes
        self._ignored = {_key(tensor) for tensor in ignore}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._follow(tensor)
        self.peak = max(self.peak, sum(self._alive.values()))
        return result

    def forget_gradient(self, parameter: Tensor) -> None:
        if parameter.grad is not None:
            self._alive.pop(_key(parameter.grad), None)

    def _follow(self, tensor: Tensor) -> None:
        key = _key(tensor)
        if key not in self._alive and key not in self._ignored:
            storage = tensor.untyped_storage()
            self._alive[key] = storage.nbytes()
            weakref.finalize(storage, self._alive.pop, key, None)


def _key(tensor: Tensor) -> int:
    """The identity of the tensor's storage."""
    return int(tensor.untyped_storage()._cdata)
