"""The published loss: a weighted sum of Dice and focal loss."""

from __future__ import annotations

from collections.abc import Callable

import torch

from coronet.config import LossParams

SMOOTH = 1.0  # γ of the Dice formula: what keeps it defined where neither mask nor answer holds anything


def segmentation_loss(params: LossParams) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """``dice`` · (1 − (2·Σpy + γ) / (Σp² + Σy² + γ)) + ``focal`` · mean(−α_t (1 − p_t)^γ log p_t).

    The Dice sums run over the whole batch: most calcium windows hold none, and a window's own Dice would
    then be 0 or 1 by a single voxel.

    Args:
        params: the two weights and the focal loss's constants.

    Returns:
        A function of logits and targets, both (n, 1, x, y, z), targets in 0 … 1.
    """
    from monai.losses import DiceLoss, FocalLoss

    dice = DiceLoss(sigmoid=True, squared_pred=True, batch=True, smooth_nr=SMOOTH, smooth_dr=SMOOTH)
    focal = FocalLoss(gamma=params.focal_gamma, alpha=params.focal_alpha)

    def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = logits.float()
        return params.dice * dice(logits, targets) + params.focal * focal(logits, targets)

    return loss
