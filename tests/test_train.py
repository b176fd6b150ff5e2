import copy
import io
import math

import numpy as np
import pytest
import torch
from torch import nn

from pam.data.augment import AUGMENTATIONS
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


def batches(seed: int = 0, room: int | None = None, recipe: Recipe = RECIPE) -> Batches:
    images, masks = squares()
    return Batches(
        images,
        masks,
        np.arange(len(images)),
        batch_size=recipe.batch_size,
        augment=recipe.augment,
        generator=torch.Generator().manual_seed(seed),
        device=torch.device("cpu"),
        room=room,
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


HELD, STREAMED = 10**9, 0  # bytes of room


@pytest.mark.parametrize(("before", "after"), [(HELD, STREAMED), (STREAMED, HELD)])
def test_a_training_goes_on_bit_for_bit_where_its_slices_no_longer_fit_or_now_do(before, after):
    recipe = Recipe(**{**vars(RECIPE), "augment": AUGMENTATIONS.names()})
    undisturbed = network()
    losses = [epoch.loss for epoch in fit(undisturbed, batches(room=before, recipe=recipe), recipe)]
    first = fit(network(), batches(room=before, recipe=recipe), recipe)
    next(first)
    state = copy.deepcopy(dict(next(first).state))
    resumed = network()
    rest = fit(resumed, batches(seed=99, room=after, recipe=recipe), recipe, state=state)
    assert [epoch.loss for epoch in rest] == losses[2:]
    assert all(torch.equal(a, b) for a, b in zip(weights(undisturbed), weights(resumed), strict=True))


def validated(**changes) -> Recipe:
    return Recipe(epochs=5, batch_size=4, learning_rate=1e-2, **changes)


def test_the_best_validated_weights_are_left_in_the_network():
    seen, trained = [], network()

    def validate(module: nn.Module) -> float:
        seen.append(weights(module))
        return [0.1, 0.7, 0.3, 0.7, 0.2][len(seen) - 1]

    history = list(fit(trained, batches(), validated(validate_every=1, select="best"), validate=validate))
    assert [epoch.validation_dice for epoch in history] == [0.1, 0.7, 0.3, 0.7, 0.2]
    assert all(torch.equal(a, b) for a, b in zip(weights(trained), seen[1], strict=True))  # the first of equals
    assert not all(torch.equal(a, b) for a, b in zip(seen[1], seen[4], strict=True))


@pytest.mark.parametrize(("every", "expected"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (3, [3, 5]), (9, [5])])
def test_validation_comes_every_so_many_passes_and_after_the_last(every, expected):
    history = list(fit(network(), batches(), validated(validate_every=every), validate=lambda _: 0.5))
    assert [epoch.epoch for epoch in history if not math.isnan(epoch.validation_dice)] == expected


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
