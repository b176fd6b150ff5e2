"""The precision of a recipe's forward passes, at a bearable speed on every processor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# What autocast on the CPU casts, as modules and operators call it. https://docs.pytorch.org/docs/stable/amp.html
CAST = frozenset(
    {
        torch.conv1d,
        torch.conv2d,
        torch.conv3d,
        torch.conv_transpose1d,
        torch.conv_transpose2d,
        torch.conv_transpose3d,
        torch.addbmm,
        torch.addmm,
        torch.baddbmm,
        *(getattr(owner, name) for name in ("bmm", "matmul", "mm") for owner in (torch, Tensor)),
        Tensor.__matmul__,
        nn.functional.linear,
        nn.functional.scaled_dot_product_attention,
    }
)


@contextmanager
def autocast(device: torch.device, precision: str) -> Iterator[None]:
    """The context in which a recipe's forward passes run: bfloat16 autocast, or nothing for float32.

    On a CPU that lacks the instructions it is bfloat16 `in_float32`.
    """
    if precision != "bfloat16":
        yield
    elif device.type == "cpu" and not multiplies_bfloat16():
        with torch.autocast("cpu", dtype=torch.bfloat16), in_float32():
            yield
    else:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            yield


@cache
def multiplies_bfloat16() -> bool:
    """Whether torch has bfloat16 kernels for this CPU: it takes AVX-512, AVX-NE-CONVERT or ARM's own instructions."""
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class in_float32(TorchFunctionMode):  # noqa: N801 (a context, named as such are)
    """Convolutions and matrix products of operands rounded to bfloat16, in float32, their results rounded again.

    So are they defined where a processor does them, which sums in float32, too. Where none does, torch's bfloat16
    kernels take many times as long as float32's, and this takes about as long: `tests/benchmarks/without_bfloat16.py`.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = kwargs or {}
        if func not in CAST:
            return func(*args, **named)
        with torch.autocast("cpu", enabled=False):
            found = func(*map(_rounded, args), **{name: _rounded(value) for name, value in named.items()})
        return found.bfloat16() if found.dtype == torch.float32 else found


def _rounded(operand: Any) -> Any:
    """Float32 tensors to the nearest bfloat16; autocast leaves float64 and integers as they are."""
    if isinstance(operand, Tensor) and operand.dtype in (torch.float32, torch.bfloat16):
        return operand.bfloat16().float()
    return operand
