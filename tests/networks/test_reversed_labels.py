"""Reversed labels travel with the network; training and scoring see foreground logits."""

from __future__ import annotations

import pytest
import torch

from pam import networks
from pam.losses import dice, loss_of


@pytest.mark.parametrize("name", networks.names())
def test_only_a_network_with_that_option_asks_for_reversed_labels(name):
    with torch.device("meta"):
        network = networks.build(name, 1)
    assert getattr(network, "reversed_labels", False) == networks.NETWORKS.options(name).get("reversed_labels", False)


def test_rfna_asks_for_reversed_labels_and_fpa_does_not():
    assert networks.build("rfna", 1, width=1).reversed_labels
    assert networks.build("rfna_text", 1, width=1).reversed_labels
    assert not networks.build("fpa", 1, width=1).reversed_labels


def test_rfna_is_trained_on_the_dice_of_the_background():
    network = networks.build("rfna", 1, width=2, generator=torch.Generator().manual_seed(0))
    images = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    target = (images > 1).float()
    foreground = network(images)
    background = -foreground  # what its head puts out
    torch.testing.assert_close(background.sigmoid(), 1 - foreground.sigmoid())
    assert torch.equal(loss_of(network, "dice")(foreground, target), dice(background, 1 - target))
    assert not torch.isclose(dice(background, 1 - target), dice(foreground, target), atol=1e-2)


def test_switched_off_rfna_is_the_same_network_with_the_other_sign():
    images = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    reversed_, plain = (
        networks.build("rfna", 1, generator=torch.Generator().manual_seed(0), width=2, reversed_labels=value)
        for value in (True, False)
    )
    assert torch.equal(reversed_(images), -plain(images))
    assert loss_of(plain, "dice") is dice


def test_rfna_learns_the_foreground_by_training_on_the_background():
    network = networks.build("rfna", 1, width=16, generator=torch.Generator().manual_seed(0))
    images = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    target = torch.zeros_like(images)
    target[:, :, 8:16, 12:20] = 1
    loss, optimizer = loss_of(network, "dice"), torch.optim.AdamW(network.parameters(), lr=1e-3)
    for _ in range(40):
        optimizer.zero_grad()
        loss(network(images + 3 * target), target).backward()
        optimizer.step()
    assert dice(100 * network(images + 3 * target), target) < 0.1  # of the thresholded prediction, nearly
