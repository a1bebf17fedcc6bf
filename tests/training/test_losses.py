"""The loss against its formula, written out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from coronet.config import LossParams
from coronet.training.losses import SMOOTH, segmentation_loss


def by_hand(logits, targets, params):
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    y = targets
    dice = 1 - (2 * (p * y).sum() + SMOOTH) / ((p**2).sum() + (y**2).sum() + SMOOTH)
    right = np.where(y == 1, p, 1 - p)
    weight = np.where(y == 1, params.focal_alpha, 1 - params.focal_alpha)
    focal = (-weight * (1 - right) ** params.focal_gamma * np.log(right)).mean()
    return params.dice * dice + params.focal * focal


@pytest.mark.parametrize(
    "params",
    [
        LossParams(0.5, 0.5, 2.0, 0.25),
        LossParams(1.0, 0.0, 2.0, 0.25),
        LossParams(0.0, 1.0, 1.5, 0.6),
        LossParams(0.3, 0.7, 0.0, 0.5),
    ],
)
def test_the_loss_is_the_formula(params):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (3, 1, 6, 5, 4)).astype(np.float32)
    targets = (rng.random(logits.shape) < 0.3).astype(np.float32)
    loss = segmentation_loss(params)(torch.from_numpy(logits), torch.from_numpy(targets))
    assert float(loss) == pytest.approx(by_hand(logits, targets, params), rel=1e-4)


def test_the_loss_and_its_gradient_have_the_bits_of_monai():
    from monai.losses import DiceLoss, FocalLoss

    params = LossParams(0.3, 0.7, 1.5, 0.6)
    dice = DiceLoss(sigmoid=True, squared_pred=True, batch=True, smooth_nr=SMOOTH, smooth_dr=SMOOTH)
    focal = FocalLoss(gamma=params.focal_gamma, alpha=params.focal_alpha)
    logits, targets = 3 * torch.randn(3, 1, 24, 20, 16), (torch.rand(3, 1, 24, 20, 16) < 0.1).float()
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss = segmentation_loss(params)(ours, targets)
    expected = params.dice * dice(theirs, targets) + params.focal * focal(theirs, targets)
    loss.backward()
    expected.backward()
    assert torch.equal(loss, expected) and torch.equal(ours.grad, theirs.grad)


def test_a_better_answer_costs_less_and_an_empty_one_is_defined():
    loss = segmentation_loss(LossParams(0.5, 0.5, 2.0, 0.25))
    targets = torch.zeros(1, 1, 4, 4, 4)
    assert 0 <= float(loss(torch.full_like(targets, -9.0), targets)) < 0.01
    targets[..., :2] = 1
    costs = [float(loss((2 * targets - 1) * sure, targets)) for sure in (-3.0, 0.0, 3.0)]
    assert costs == sorted(costs, reverse=True)


def test_gradients_reach_logits_at_soft_targets():
    logits = torch.zeros(2, 1, 4, 4, 4, requires_grad=True)
    segmentation_loss(LossParams(0.5, 0.5, 2.0, 0.25))(logits, torch.rand(2, 1, 4, 4, 4)).backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad.abs().sum() > 0
