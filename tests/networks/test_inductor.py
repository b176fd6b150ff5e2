"""The compiler's own backend, on the reference and on the network with the most unusual operations."""

from __future__ import annotations

import pytest
import torch

from pam import networks


@pytest.mark.slow
@pytest.mark.parametrize("name", ["unet", "rfna"])
def test_inductor_gives_the_same_logits(name):
    network = networks.build(name, 3, generator=torch.Generator().manual_seed(0), width=4)
    images = torch.randn(2, 3, 16, 24, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(torch.compile(network, fullgraph=True)(images), network(images), rtol=1e-4, atol=1e-4)
