"""First weights of modules that the zoo does not use itself."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pam.errors import StudyError
from pam.networks import initialise


class Scale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class DrawnScale(Scale):
    def initialise(self, generator: torch.Generator) -> None:
        with torch.no_grad():
            self.scale.normal_(generator=generator)


def test_a_module_with_parameters_of_its_own_and_no_way_to_draw_them_is_an_error():
    with pytest.raises(StudyError, match=r"module '1' \(Scale\) holds parameters .* a method initialise\(generator\)"):
        initialise(nn.Sequential(nn.ReLU(), Scale()), torch.Generator())


def test_a_module_may_draw_its_own_parameters():
    first, second = DrawnScale(), DrawnScale()
    for module in (first, second):
        initialise(module, torch.Generator().manual_seed(3))
    assert first.scale.any() and torch.equal(first.scale, second.scale)


def test_norms_start_as_ones_and_zeros():
    norm = nn.GroupNorm(1, 4)
    nn.init.normal_(norm.weight)
    initialise(norm, torch.Generator())
    assert torch.equal(norm.weight, torch.ones(4)) and torch.equal(norm.bias, torch.zeros(4))
