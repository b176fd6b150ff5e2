import pytest
import torch

from pam.losses import LOSSES, dice, loss_of

LOGIT = 100.0  # a sigmoid of exactly 0 or 1 in float32


def logits_of(mask: torch.Tensor) -> torch.Tensor:
    return torch.where(mask > 0, LOGIT, -LOGIT)


def test_dice_of_a_perfect_prediction_is_zero():
    target = torch.tensor([[[[1.0, 0.0, 1.0, 0.0]]]])
    assert dice(logits_of(target), target).item() == pytest.approx(0.0)


def test_dice_of_half_overlap_counts_the_smoothing_once_above_and_below():
    target = torch.tensor([[[[1.0, 1.0, 0.0, 0.0]]]])
    prediction = torch.tensor([[[[0.0, 1.0, 1.0, 0.0]]]])
    assert dice(logits_of(prediction), target).item() == pytest.approx(1 - (2 * 1 + 1) / (2 + 2 + 1))


def test_dice_is_pooled_over_the_batch_not_averaged_over_its_images():
    target = torch.tensor([1.0, 1.0, 0.0, 0.0]).reshape(2, 1, 1, 2)  # one full image, one empty
    prediction = torch.tensor([1.0, 1.0, 1.0, 0.0]).reshape(2, 1, 1, 2)
    assert dice(logits_of(prediction), target).item() == pytest.approx(1 - (2 * 2 + 1) / (3 + 2 + 1))


def test_dice_of_an_empty_batch_predicted_empty_is_zero():
    target = torch.zeros(2, 1, 4, 4)
    assert dice(logits_of(target), target).item() == pytest.approx(0.0)


@pytest.mark.parametrize("name", LOSSES.names())
def test_a_loss_is_finite_and_differentiable_in_bfloat16(name):
    logits = torch.randn(2, 1, 8, 8, dtype=torch.bfloat16, requires_grad=True)
    loss = LOSSES.get(name)(logits, torch.ones(2, 1, 8, 8))
    loss.backward()
    assert loss.dtype == torch.float32
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_a_network_that_trains_on_reversed_labels_gets_the_loss_of_the_background():
    target = torch.tensor([[[[1.0, 1.0, 0.0, 0.0, 0.0]]]])
    prediction = torch.tensor([[[[0.0, 1.0, 1.0, 0.0, 0.0]]]])
    network = torch.nn.Identity()
    assert loss_of(network, "dice")(logits_of(prediction), target).item() == pytest.approx(
        1 - (2 * 1 + 1) / (2 + 2 + 1)
    )
    network.reversed_labels = True
    assert loss_of(network, "dice")(logits_of(prediction), target).item() == pytest.approx(
        1 - (2 * 2 + 1) / (3 + 3 + 1)
    )
