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
