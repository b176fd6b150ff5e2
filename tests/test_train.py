import copy
import io
import math

import numpy as np
import pytest
import torch
from torch import nn

from pam.data.batches import Batches
from pam.study import Recipe
from pam.train import Diverged, fit

RECIPE = Recipe(epochs=4, batch_size=4, learning_rate=1e-2, schedule="multistep")


def squares(count: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Bright squares on noise, and where they are."""
    rng = np.random.default_rng(0)
    images = rng.normal(0, 0.3, (count, 1, 16, 16)).astype(np.float16)
    masks = np.zeros((count, 16, 16), np.uint8)
    for image, mask, corner in zip(images, masks, rng.integers(1, 9, (count, 2)), strict=True):
        window = np.s_[corner[0] : corner[0] + 6, corner[1] : corner[1] + 6]
        mask[window] = 1
        image[0][window] += 2
    return images, masks


def batches(seed: int = 0) -> Batches:
    images, masks = squares()
    return Batches(
        images,
        masks,
        np.arange(len(images)),
        batch_size=RECIPE.batch_size,
        augment=RECIPE.augment,
        generator=torch.Generator().manual_seed(seed),
        device=torch.device("cpu"),
    )


def network() -> nn.Module:
    convolutions = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1))
    generator = torch.Generator().manual_seed(1)
    for parameter in convolutions.parameters():
        nn.init.uniform_(parameter, -0.3, 0.3, generator=generator)
    return convolutions


def weights(module: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def test_the_loss_falls():
    losses = [epoch.loss for epoch in fit(network(), batches(), Recipe(epochs=8, batch_size=4, learning_rate=1e-2))]
    assert losses[-1] < 0.5 * losses[0]


def test_the_same_seeds_give_the_same_weights():
    first, second = network(), network()
    assert [e.loss for e in fit(first, batches(), RECIPE)] == [e.loss for e in fit(second, batches(), RECIPE)]
    assert all(torch.equal(a, b) for a, b in zip(weights(first), weights(second), strict=True))


@pytest.mark.parametrize("stop", [1, 2, 3])
@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_a_resumed_training_ends_bit_for_bit_where_the_undisturbed_one_does(stop, precision):
    recipe = Recipe(**{**vars(RECIPE), "precision": precision})
    undisturbed = network()
    losses = [epoch.loss for epoch in fit(undisturbed, batches(), recipe)]
    file = io.BytesIO()
    for epoch in fit(network(), batches(), recipe):
        if epoch.epoch == stop:
            torch.save(dict(epoch.state), file)
            break
    file.seek(0)
    resumed, other_generator = network(), batches(seed=99)
    state = torch.load(file, weights_only=True)
    assert [epoch.loss for epoch in fit(resumed, other_generator, recipe, state=state)] == losses[stop:]
    assert all(torch.equal(a, b) for a, b in zip(weights(undisturbed), weights(resumed), strict=True))


def test_a_finished_state_has_nothing_left_to_train():
    state = None
    for epoch in fit(network(), batches(), RECIPE):
        state = copy.deepcopy(dict(epoch.state))
    assert list(fit(network(), batches(), RECIPE, state=state)) == []


def test_the_multistep_schedule_divides_the_rate_by_ten_at_a_half_and_three_quarters():
    rates = [epoch.learning_rate for epoch in fit(network(), batches(), RECIPE)]
    assert rates == pytest.approx([1e-2, 1e-2, 1e-3, 1e-4])


def test_a_loss_that_is_not_finite_ends_the_training_and_names_the_epoch():
    broken = network()
    with torch.no_grad():
        next(broken.parameters()).fill_(math.nan)
    with pytest.raises(Diverged, match="nan in epoch 1"):
        list(fit(broken, batches(), RECIPE))
