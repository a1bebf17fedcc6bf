"""The published loss: a weighted sum of Dice and focal loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from coronet.config import LossParams

SMOOTH = 1.0
"""γ of the Dice formula: what keeps it defined where neither mask nor answer holds anything."""


def segmentation_loss(params: LossParams) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """``dice`` · (1 − (2·Σpy + γ) / (Σp² + Σy² + γ)) + ``focal`` · mean(−α_t (1 − p_t)^γ log p_t).

    The Dice sums run over the whole batch: most calcium windows hold none, and a window's own Dice would
    then be 0 or 1 by a single voxel.

    Args:
        params: the two weights and the focal loss's constants.

    Returns:
        A function of logits and targets, both (n, 1, x, y, z), targets in 0 … 1.
    """

    def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = logits.float()
        answers = torch.sigmoid(logits)
        both = (answers * targets).sum()
        dice = 1 - (2 * both + SMOOTH) / (answers.square().sum() + targets.square().sum() + SMOOTH)
        entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
        # as a logarithm, since a power of 0 has no gradient
        wrong = F.logsigmoid(logits * (1 - 2 * targets))
        weight = params.focal_alpha * targets + (1 - params.focal_alpha) * (1 - targets)
        focal = (weight * (params.focal_gamma * wrong).exp() * entropy).mean()
        return params.dice * dice + params.focal * focal

    return loss
