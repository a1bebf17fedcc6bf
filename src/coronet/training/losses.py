"""The published loss: a weighted sum of Dice and focal loss."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import logsigmoid

from coronet.config import LossParams

SMOOTH = 1.0  # γ of the Dice formula: what keeps it defined where neither mask nor answer holds anything


def segmentation_loss(params: LossParams) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """``dice`` · (1 − (2·Σpy + γ) / (Σp² + Σy² + γ)) + ``focal`` · mean(−α_t (1 − p_t)^γ log p_t).

    The Dice sums run over the whole batch: most calcium windows hold none, and a window's own Dice would
    then be 0 or 1 by a single voxel. Both losses have the bits of MONAI's (``DiceLoss`` with ``squared_pred``
    and ``batch``, ``FocalLoss``), whose import takes longer than all else that a training imports.

    Args:
        params: the two weights and the focal loss's constants.

    Returns:
        A function of logits and targets, both (n, 1, x, y, z), targets in 0 … 1.
    """

    def loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = logits.float()
        dice = params.dice * _dice_loss(logits, targets)
        return dice + params.focal * _focal_loss(
            logits, targets.float(), params.focal_gamma, params.focal_alpha
        )

    return loss


def _dice_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    def squares(values: torch.Tensor) -> torch.Tensor:
        return torch.linalg.vector_norm(values, dim=(0, 2, 3, 4)) ** 2

    probability = torch.sigmoid(logits)
    predicted, true, different = squares(probability), squares(targets), squares(probability - targets)
    shared = (predicted + true - different) / 2
    missed = (predicted - shared) * 0.5, (true - shared) * 0.5
    return torch.mean(1 - (2 * shared + SMOOTH) / (2 * (shared + missed[0] + missed[1]) + SMOOTH))


def _focal_loss(logits: torch.Tensor, targets: torch.Tensor, gamma: float, alpha: float) -> torch.Tensor:
    entropy = logits - logits * targets - logsigmoid(logits)
    # log(1 − p_t), as a logarithm since powers of it overflow
    surprise = logsigmoid(-logits * (targets * 2 - 1))
    share = torch.tensor(alpha, device=logits.device)
    weight = targets * share + (1 - targets) * (1 - share)
    return torch.mean(weight * ((surprise * gamma).exp() * entropy))
