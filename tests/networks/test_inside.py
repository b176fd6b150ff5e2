"""Attention maps by name, and effective receptive fields."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from pam import networks
from pam.errors import StudyError
from pam.networks.inside import attention_maps, attention_names, deepest
from pam.networks.receptive_field import Field, gradients, receptive_fields

STAGES = ("encoder2", "encoder3", "encoder4", "bridge")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=generator(1))


@pytest.mark.parametrize("name", networks.names())
def test_attention_maps_come_from_the_same_pass_by_name(name):
    options = {"width": 4} if "width" in networks.NETWORKS.options(name) else {}
    network = networks.build(name, 3, generator=generator(), **options).eval()
    batch = images(2, 3, 16, 24)
    before = network(batch)
    maps = attention_maps(network, batch)
    assert tuple(maps) == attention_names(network) and bool(maps) == (
        getattr(network, "attention_type", "none") != "none"
    )
    assert all(value.shape[0] == 2 and value.dim() == 4 and not value.requires_grad for value in maps.values())
    assert torch.equal(network(batch), before)
    assert not any(module._forward_hooks for module in network.modules())


def test_fpa_has_a_map_between_0_and_1_at_each_stage_and_its_features_follow_from_it():
    network = networks.build("fpa", 3, generator=generator(), width=4)
    batch = images(1, 3, 16, 16)
    maps = attention_maps(network, batch)
    assert list(maps) == [f"{stage}.attention" for stage in STAGES]
    assert [tuple(value.shape[1:]) for value in maps.values()] == [(8, 8, 8), (16, 4, 4), (32, 2, 2), (32, 2, 2)]
    assert all(value.min() > 0 and value.max() < 1 for value in maps.values())
    features = network.encoder1(batch)
    main = network.encoder2.main(features)
    torch.testing.assert_close(network.encoder2(features), main * maps["encoder2.attention"] + main)


def test_global_context_positions_sum_to_one():
    network = networks.build("gcnunet", 3, generator=generator(), width=4)
    maps = attention_maps(network, images(2, 3, 16, 16), ["bridge.refine.position"])
    torch.testing.assert_close(maps["bridge.refine.position"].sum(dim=(1, 2, 3)), torch.ones(2))


def test_an_unknown_map_is_an_error_that_lists_them():
    network = networks.build("aunet", 3, width=4)
    with pytest.raises(StudyError, match=r"no module 'gate9'.*: gate3.attention, gate2.attention, gate1.attention"):
        attention_maps(network, images(1, 3, 16, 16), ["gate9"])


def test_the_field_of_one_convolution_is_its_kernel_around_the_centre():
    network = nn.Sequential(nn.Conv2d(2, 1, 3, padding=2, dilation=2, bias=False))
    networks.initialise(network, generator())
    (field,) = gradients(network, ["0"], images(6, 2, 9, 11), generator()).values()
    expected = np.zeros((9, 11))
    expected[2:7:2, 3:8:2] = network[0].weight.detach().square().sum(dim=(0, 1)).sqrt()
    np.testing.assert_allclose(field, expected, atol=1e-7)


def test_area_and_spread_of_a_known_field():
    gradient = np.zeros((9, 9))
    gradient[4, [2, 6]] = 1.0
    gradient[[0, 8], 4] = 0.04  # below 4.55 % of the largest
    field = Field(stage="s", branch="main", gradient=gradient)
    assert field.area_px() == 2
    assert field.area_px(0.01) == 4
    energy = 2 * 1.0 + 2 * 0.04**2
    assert field.spread_px == pytest.approx(math.sqrt((2 * 1.0 * 4 + 2 * 0.04**2 * 16) / energy / 2))


def test_the_spread_of_a_gaussian_gradient_is_its_sigma_over_root_two():
    rows, columns = np.indices((101, 101)) - 50
    field = Field(stage="s", branch="main", gradient=np.exp(-(rows**2 + columns**2) / (2 * 6.0**2)))
    assert field.spread_px == pytest.approx(6 / math.sqrt(2), rel=1e-6)


def test_nothing_that_reaches_the_unit_has_no_area_and_an_undefined_spread():
    field = Field(stage="s", branch="main", gradient=np.zeros((4, 4)))
    assert field.area_px() == 0 and math.isnan(field.spread_px)


def spread_ratios(name: str, seed: int, size: int = 160) -> dict[str, float]:
    """Attention branch's spread over the main branch's, by stage, at initialisation."""
    network = networks.build(name, 4, generator=generator(seed), width=8)
    fields = receptive_fields(network, torch.randn(4, 4, size, size, generator=generator(seed)), generator(seed))
    spread = {(field.stage, field.branch): field.spread_px for field in fields}
    return {stage: spread[stage, "attention"] / spread[stage, "main"] for stage in STAGES}


@pytest.mark.parametrize("seed", [0, 1])
def test_claim_c13_holds_for_the_dilated_branch_which_looks_further_than_the_main_one(seed):
    assert min(spread_ratios("fpa", seed).values()) > 2


def test_claim_c13_fails_in_deep_stages_of_images_of_128_where_a_dilation_of_9_leaves_the_map():
    ratios = spread_ratios("fpa", 0, size=128)  # maps of 16 × 16: all but the kernel's centre meets padding
    assert min(ratios["encoder2"], ratios["encoder3"]) > 2
    assert max(ratios["encoder4"], ratios["bridge"]) < 1.2


@pytest.mark.parametrize("seed", [0, 1])
def test_claim_c13_fails_for_rfnas_branch_which_looks_further_than_the_main_one_at_initialisation(seed):
    assert min(spread_ratios("rfna", seed).values()) > 1.2


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("fpa", {}, "bridge.attention"),
        ("cbamunet", {}, "bridge.refine.spatial"),
        ("cscunet", {}, "encoder3.refine.spatial"),
        ("gcnunet", {}, "bridge.refine.position"),
        ("aunet", {}, "gate3.attention"),
        ("fpa", {"placement": "decoder"}, "decoder3.attention"),
        ("unet", {}, None),
    ],
)
def test_the_deepest_map_over_positions_is_the_encoders_last(name, options, expected):
    network = networks.build(name, 3, generator=generator(), width=4, **options)
    assert deepest(attention_maps(network, images(1, 3, 32, 32))) == expected
