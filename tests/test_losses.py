import pytest
import torch
from monai import losses as monai

from pam.losses import LOSSES, SMOOTHING, TVERSKY_FN, TVERSKY_FP, dice, loss_of

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


# MONAI's batch Dice smooths after averaging over classes, of which there is one; its focal loss has γ = 2 by default.
ORACLES = {
    "dice": monai.DiceLoss(sigmoid=True, batch=True, smooth_nr=SMOOTHING, smooth_dr=SMOOTHING),
    "dice_per_image": monai.DiceLoss(sigmoid=True, smooth_nr=SMOOTHING, smooth_dr=SMOOTHING),
    "cross_entropy": torch.nn.BCEWithLogitsLoss(),
    "dice_and_cross_entropy": monai.DiceCELoss(sigmoid=True, batch=True, smooth_nr=SMOOTHING, smooth_dr=SMOOTHING),
    "focal": monai.FocalLoss(gamma=2.0),
    "tversky": monai.TverskyLoss(
        sigmoid=True, batch=True, alpha=TVERSKY_FP, beta=TVERSKY_FN, smooth_nr=SMOOTHING, smooth_dr=SMOOTHING
    ),
}


@pytest.mark.parametrize("name", LOSSES.names())
def test_a_loss_and_its_gradient_equal_an_independent_implementations(name):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 1, 6, 5, generator=generator).requires_grad_()
    target = (torch.rand(3, 1, 6, 5, generator=generator) < 0.3).float()
    target[1] = 0
    ours, theirs = LOSSES.get(name)(logits, target), ORACLES[name](logits, target)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(loss, logits)[0] for loss in (ours, theirs)))


@pytest.mark.parametrize("name", LOSSES.names())
def test_a_perfect_prediction_costs_next_to_nothing_and_a_wrong_one_more(name):
    target = torch.tensor([[[[1.0, 0.0, 1.0, 0.0]]], [[[0.0, 0.0, 0.0, 0.0]]]])
    assert LOSSES.get(name)(logits_of(target), target).item() == pytest.approx(0.0, abs=1e-6)
    assert LOSSES.get(name)(logits_of(1 - target), target).item() > 0.5


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
