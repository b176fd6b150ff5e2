"""Exact sizes, the cells of Figure 7, placements, and the errors of what cannot be built."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from pam import networks
from pam.errors import DataError, StudyError
from pam.networks.backbone import Unet

PARAMETERS = {
    ("unet",): 3_129_248,
    ("wunet",): 12_506_944,
    ("d6unet",): 3_129_248,
    ("d9unet",): 3_129_248,
    ("aunet",): 3_161_843,
    ("cscunet",): 3_140_448,
    ("cbamunet",): 3_140_200,
    ("gcnunet",): 3_151_608,
    ("fpa",): 4_200_608,
    ("rfna",): 5_627_296,
    ("fpa_text",): 4_754_720,
    ("rfna_text",): 4_403_616,
    ("fpa", ("depthwise", False), ("expansion", 1)): 4_754_720,
    ("rfna", ("expansion", 4), ("shared_kernel", False)): 4_403_616,
    ("unet", ("width", 64)): 12_506_944,
}
PLACED = [name for name in networks.names() if "placement" in networks.NETWORKS.options(name)]


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def known(name: str, **options: object) -> dict[str, object]:
    """Those of the options that the network has."""
    return {key: value for key, value in options.items() if key in networks.NETWORKS.options(name)}


def on_meta(name: str, in_channels: int = 4, **options: object) -> nn.Module:
    with torch.device("meta"):
        return networks.build(name, in_channels, **options)


@pytest.mark.parametrize(("name", "options", "expected"), [(k[0], dict(k[1:]), n) for k, n in PARAMETERS.items()])
def test_network_has_the_published_number_of_parameters(name, options, expected):
    assert parameters(on_meta(name, **options)) == expected


def test_every_cell_of_figure_7_builds_and_no_two_are_alike():
    sizes = set()
    for depthwise, expansions in ((True, (2, 4, 8)), (False, (1, 2))):
        for expansion, dilation in itertools.product(expansions, (6, 9, 12)):
            on_meta("fpa", dilation=dilation, expansion=expansion, depthwise=depthwise)
        for expansion, ratio in itertools.product(expansions, (2, 4, 8)):
            sizes.add(parameters(on_meta("rfna", ratio=ratio, expansion=expansion, depthwise=depthwise)))
    # At ratio 2 no 3×3 kernel is left, so depth-wise or not is the same network at expansion 2; with one shared
    # kernel ratio 8 has a norm more than ratio 4.
    assert len(sizes) == 15 - 1


@pytest.mark.parametrize("name", PLACED)
def test_each_placement_that_exists_takes_attention_there_and_both_is_their_sum(name):
    plain = parameters(on_meta("unet"))
    added = {}
    for placement in ("encoder", "decoder", "both"):
        if name == "aunet" and placement != "decoder":
            with pytest.raises(StudyError, match="possible: 'decoder'"):
                on_meta(name, placement=placement)
        else:
            network = on_meta(name, placement=placement)
            assert network.attention_place == placement
            added[placement] = parameters(network) - plain
    assert all(added.values())
    assert name == "aunet" or added["both"] == added["encoder"] + added["decoder"]


@pytest.mark.parametrize(("in_channels", "width", "out_channels"), [(1, 1, 1), (3, 5, 2), (7, 8, 4)])
@pytest.mark.parametrize("name", networks.names())
def test_any_number_of_channels_width_and_logits_works(name, in_channels, width, out_channels):
    options = known(name, width=width, out_channels=out_channels)
    network = networks.build(name, in_channels, **options)
    assert network(torch.randn(1, in_channels, 16, 8)).shape == (1, options.get("out_channels", 1), 16, 8)


@pytest.mark.parametrize("size", [(8, 8), (8, 24), (16, 24), (40, 16), (160, 160)])
@pytest.mark.parametrize("name", networks.names())
def test_any_size_divisible_by_eight_works_in_training(name, size):
    network = networks.build(name, 2, **known(name, width=2)).train()
    logits = network(torch.randn(1, 2, *size))
    logits.sum().backward()
    assert logits.shape == (1, 1, *size) and logits.isfinite().all()


@pytest.mark.parametrize("name", networks.names())
def test_another_size_is_an_error_that_states_the_next_one(name):
    network = on_meta(name, **known(name, width=2))
    if not isinstance(network, Unet):  # it may take any size
        assert network(torch.empty(1, 4, 161, 160, device="meta")).shape == (1, 1, 161, 160)
        return
    with pytest.raises(DataError, match=r"161×160 pixels: .* divisible by 8; .* the next size is 168×160"):
        network(torch.empty(1, 4, 161, 160, device="meta"))


def test_next_size_keeps_a_size_that_fits():
    assert networks.next_size(1, 9) == (8, 16)
    assert networks.next_size(160, 224) == (160, 224)
    assert networks.size_multiple == 8


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("fpa", {"dilation": 0}, "'dilation' is 0; expected a whole number ≥ 1"),
        ("fpa", {"expansion": 1.5}, "'expansion' is 1.5; expected a whole number ≥ 1"),
        ("fpa", {"depthwise": "yes"}, "'depthwise' is 'yes'; possible: False, True"),
        ("fpa", {"placement": "middle"}, "'placement' is 'middle'; possible: 'encoder', 'decoder', 'both'"),
        ("fpa", {"depthwise": 1}, "'depthwise' is 1; possible: False, True"),
        ("rfna", {"ratio": 3}, "'ratio' is 3; possible: 2, 4, 8"),
        ("rfna", {"ratio": 4.0}, "'ratio' is 4.0; possible: 2, 4, 8"),
        ("rfna", {"shared_kernel": "no"}, "'shared_kernel' is 'no'; possible: False, True"),
        ("rfna_text", {"reversed_labels": 1}, "'reversed_labels' is 1; possible: False, True"),
        ("unet", {"width": 0}, "'width' is 0; expected a whole number ≥ 1"),
        ("unet", {"out_channels": True}, "'out_channels' is True; expected a whole number ≥ 1"),
        ("unet", {"dilation": 2}, "network 'unet' has no option 'dilation'; it has: width, out_channels"),
    ],
)
def test_an_impossible_option_is_an_error_that_says_what_is_possible(name, options, said):
    with pytest.raises(StudyError) as error:
        on_meta(name, **options)
    assert said in str(error.value)


def test_no_channels_is_an_error():
    with pytest.raises(StudyError, match="'in_channels' is 0; expected a whole number ≥ 1"):
        on_meta("unet", in_channels=0)


@pytest.mark.parametrize("side", [48, 256], ids=["on the CPU", "without memory"])
def test_a_network_that_gives_more_than_a_logit_per_pixel_is_an_error(side):
    networks.check("unet", (4, side, side), width=2)
    with pytest.raises(StudyError, match=rf"returned \(1, 2, {side}, {side}\) for one image of shape"):
        networks.check("unet", (4, side, side), width=2, out_channels=2)
