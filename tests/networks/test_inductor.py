"""The compiler's own backend, forward and backward, on each network that has blocks of its own.

The others are of the same blocks; that each is one graph, with its gradients, is in `test_every_network.py`.
"""

from __future__ import annotations

import pytest
import torch

from pam import networks
from pam.networks import NETWORKS


@pytest.mark.slow
@pytest.mark.timeout(900)  # it compiles C++ for most of its time, which a busy machine stretches
@pytest.mark.parametrize("name", ["aunet", "cbamunet", "cscunet", "fpa", "gcnunet", "rfna"])
def test_inductor_gives_the_same_logits_and_gradients(name):
    options = {"width": 4} if "width" in NETWORKS.options(name) else {}
    network = networks.build(name, 3, generator=torch.Generator().manual_seed(0), **options).double().eval()
    # Large enough that no branch shrinks to a single position, see `test_every_network.py`.
    images = torch.randn(1, 3, 128, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    weights = list(network.parameters())
    expected = network(images)
    found = torch.compile(network, fullgraph=True)(images)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(torch.autograd.grad(found.sum(), weights), torch.autograd.grad(expected.sum(), weights))
    torch.compiler.reset()
