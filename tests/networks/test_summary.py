"""The zoo's table and what it counts."""

from __future__ import annotations

import torch
from torch import nn

from pam import networks
from pam.networks.__main__ import main
from pam.networks.cost import flop, peak_activation_bytes
from pam.networks.summary import as_markdown, source, summarise


def test_flop_of_a_convolution_are_two_per_multiplication():
    with torch.device("meta"):
        layer = nn.Conv2d(3, 5, 3, padding=1)
    assert flop(layer, (3, 8, 10)) == 2 * (3 * 3 * 3) * 5 * 8 * 10


def test_flop_of_the_unet_are_those_of_its_convolutions():
    assert round(summarise("unet").gflop, 2) == 9.26


def test_peak_memory_counts_what_lives_at_once():
    with torch.device("meta"):
        layers = nn.Sequential(nn.Sigmoid(), nn.Conv2d(2, 3, 1, bias=False), nn.Sigmoid())
    map_bytes = 4 * 6 * 4
    # Kept: the sigmoid of the image (2 channels) and of the convolution's output (3), which itself is freed. In the
    # backward pass the gradients of the output (3) and of the convolution's output (3) join them, and at last the
    # weight's 6 numbers, before they are accumulated.
    assert peak_activation_bytes(layers, (2, 4, 6)) == map_bytes * (2 + 3 + 3 + 3) + 6 * 4


def test_peak_memory_leaves_the_network_as_it_was():
    with torch.device("meta"):
        network = networks.build("fpa", 4, width=4)
    first = peak_activation_bytes(network, (4, 32, 32))
    assert peak_activation_bytes(network, (4, 32, 32)) == first
    assert all(parameter.grad is None for parameter in network.parameters())


def test_the_table_has_every_network_with_its_source(capsys):
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line for line in lines[1 : 1 + len(networks.names())]}
    assert rows.keys() == set(networks.names())
    assert all(source(name) and rows[name].endswith(source(name)) for name in rows)
    assert "et al. (20" in rows["fpa"]
    assert "5,627,296" in rows["rfna"] and "mixed" in rows["rfna"] and "encoder" in rows["rfna"]


def test_the_markdown_table_has_as_many_columns_in_each_row():
    table = as_markdown([summarise("unet"), summarise("rfna")]).splitlines()
    assert len(table) == 2 + 2
    assert {line.count("|") for line in table} == {8}
