"""Batch norm and SELU as one step of learning, on a processor.

Both only move memory. As two layers they move it several times more often than they must, which is a quarter
of a training step of a narrow network.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

_ALPHA, _SCALE = 1.6732632423543772, 1.0507009873554805
"""Klambauer et al. 2017, Self-normalizing neural networks, equation 14."""
_ROW = 512
"""Numbers of a row that sums run along; voxels of few channels lie side by side in it."""


def normed_selu(norm: nn.BatchNorm3d, features: torch.Tensor) -> torch.Tensor:
    """What ``nn.SELU()(norm(features))`` gives while ``norm`` learns; its running figures move as well.

    Args:
        norm: in training mode, with weights and running figures.
        features: (n, c, x, y, z), best in channels-last layout.
    """
    result, mean, variance = _NormedSelu.apply(features, norm.weight, norm.bias, norm.eps)
    with torch.no_grad():
        count = features.numel() // features.shape[1]
        norm.num_batches_tracked += 1
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * (count / (count - 1)), norm.momentum)
    return result


class _NormedSelu(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, eps: float
    ) -> tuple[torch.Tensor, ...]:
        rows = _Rows(features)
        mean, variance = rows.statistics()
        steepness = (variance + eps).rsqrt()
        slope = weight * steepness
        result = torch.addcmul(rows.tiled(bias - slope * mean), rows.values, rows.tiled(slope))
        result = rows.as_features(torch.selu_(result))
        ctx.mark_non_differentiable(mean, variance)
        ctx.save_for_backward(features, result, mean, steepness, weight)
        return result, mean, variance

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor, *_: Any) -> tuple[torch.Tensor | None, ...]:
        features, result, mean, steepness, weight = ctx.saved_tensors
        rows = _Rows(features)
        behind = torch.ops.aten.elu_backward(
            _Rows(gradient).values, _ALPHA, _SCALE, 1.0, True, _Rows(result).values
        )
        by_weight, by_bias = rows.gradients(behind, mean, steepness)
        slope = weight * steepness
        pull = -slope * steepness * by_weight / rows.count
        shift = -slope * by_bias / rows.count - pull * mean
        by_features = torch.addcmul(rows.tiled(shift), rows.values, rows.tiled(pull))
        by_features.addcmul_(behind, rows.tiled(slope))
        return rows.as_features(by_features), by_weight, by_bias, None


class _Rows:
    """Features (n, c, x, y, z) as a matrix, several voxels with all their channels in a row.

    Torch's own sums for batch norm run over each of its columns as if it were a channel. So wide, they take a
    tenth of the time that eight channels alone take it.
    """

    def __init__(self, features: torch.Tensor) -> None:
        self._last = features.permute(0, 2, 3, 4, 1)
        self._channels = features.shape[1]
        self.count = features.numel() // self._channels
        self._voxels = math.gcd(self.count, max(1, _ROW // self._channels))
        self.values = self._last.reshape(-1, self._voxels * self._channels)

    def statistics(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and variance of each channel, by those of the columns."""
        by_columns = torch.batch_norm_update_stats(_as_image(self.values), None, None, 0.0)
        means, variances = map(self._by_voxel, by_columns)
        mean = means.mean(0)
        return mean, (variances + (means - mean).square()).mean(0)

    def gradients(
        self, behind: torch.Tensor, mean: torch.Tensor, steepness: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """By weight and bias of a norm whose result has the gradient ``behind``, a matrix like ``values``."""
        mean, steepness = self.tiled(mean), self.tiled(steepness)
        by_columns = torch.ops.aten.native_batch_norm_backward(
            _as_image(behind),
            _as_image(self.values),
            *(None, None, None, mean, steepness),
            train=True,
            eps=0.0,
            output_mask=[False, True, True],
        )
        return self._by_voxel(by_columns[1]).sum(0), self._by_voxel(by_columns[2]).sum(0)

    def _by_voxel(self, columns: torch.Tensor) -> torch.Tensor:
        """One number for each column as voxels by channels."""
        return columns.view(self._voxels, self._channels)

    def tiled(self, channels: torch.Tensor) -> torch.Tensor:
        """One number for each channel, to be met with every row."""
        return channels.repeat(self._voxels)

    def as_features(self, values: torch.Tensor) -> torch.Tensor:
        """A matrix like ``values`` in the shape of the features."""
        return values.view(self._last.shape).permute(0, 4, 1, 2, 3)


def _as_image(rows: torch.Tensor) -> torch.Tensor:
    """A matrix (r, c) as an image (1, c, r, 1) in channels-last layout."""
    return rows.T[None, :, :, None]
