"""Layers of the U-Net and the autoencoder that give the same result several times as fast on a processor.

The networks are plain torch; `accelerate` swaps their layers from outside, and weights and their names stay.

Convolutions: a training step waits for the gradient of the weights. oneDNN, which computes it for torch,
has a direct kernel for AVX2 that refuses padding along the first axis in space; with padding, every voxel is
copied 27 times for a matrix product. So where channels are few that axis is padded here, and the kernel pads
the rest. A single window torch does not give to oneDNN at all, unless it has very many channels.

Batch norm and SELU: both only move memory. As two layers they move it several times more often than needed,
which is a quarter of a training step of a narrow network.
"""

from __future__ import annotations

import functools
import math
from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

from coronet.networks.unet import ConvBlock, UNet, UpBlock

NARROW = 32
"""Channels up to which the direct kernel is faster; of 64 it takes twice the matrix product's time."""
_ALPHA, _SCALE = 1.6732632423543772, 1.0507009873554805
"""Klambauer et al. 2017, Self-normalizing neural networks, equation 14."""
_ROW = 512  # numbers of a row that sums run along; voxels of few channels lie side by side in it
Network = TypeVar("Network", bound=nn.Module)


def accelerate(network: Network) -> Network:
    """Swap the layers of a U-Net or an autoencoder for faster ones, in place.

    Results differ from plain torch by rounding. On a GPU only the doubling of the grid is faster. Networks
    around an smp-3d encoder stay as they are.
    """
    if isinstance(network, UNet):
        for layer in network.modules():
            layer.__class__ = _FASTER.get(type(layer), type(layer))
    return network


class _FastConv3d(nn.Conv3d):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return convolve(image, self.weight, self.bias)


class _FastConvBlock(ConvBlock):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return _activate(self, self[0](image))


class _FastUpBlock(UpBlock):
    """The copies are never made.

    Convolving them equals a transposed convolution with stride 2 whose kernel sums the weights that meet the
    same copy: 8 products for each voxel in place of 27.
    """

    def forward(self, coarse: torch.Tensor, skip: torch.Tensor | None = None) -> torch.Tensor:
        convolution = cast(nn.Conv3d, self[0])
        above, level = convolution.weight.tensor_split([coarse.shape[1]], dim=1)
        kernel = (above.transpose(0, 1).flatten(2) @ _copy_sums(above.device)).unflatten(2, (4, 4, 4))
        features = convolve_doubled(coarse, kernel, convolution.bias)
        if skip is not None:
            features += convolve(skip, level)
        return _activate(self, features)


_FASTER: dict[type, type] = {nn.Conv3d: _FastConv3d, ConvBlock: _FastConvBlock, UpBlock: _FastUpBlock}


@functools.cache
def _copy_sums(device: torch.device) -> torch.Tensor:
    """Which weights of a 3 × 3 × 3 kernel meet the same copy, shape (27, 64)."""
    # prediction may ask first, and training cannot use what was made in inference mode
    with torch.inference_mode(False):
        sums = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0]], device=device)
        return torch.kron(torch.kron(sums, sums), sums)


def _activate(block: ConvBlock, features: torch.Tensor) -> torch.Tensor:
    """Batch norm and activation of a block."""
    _, norm, activation = block
    if (
        block.training
        and type(norm) is nn.BatchNorm3d  # one that several processes share is another
        and isinstance(activation, nn.SELU)
        and features.device.type == "cpu"
    ):
        return normed_selu(norm, features)
    return activation(norm(features))


def convolve(image: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """What ``conv3d(image, weight, bias, padding="same")`` gives.

    Args:
        image: (n, a, x, y, z), best in channels-last layout.
        weight: (b, a, k, k, k), k odd.

    Returns:
        (n, b, x, y, z).
    """
    if bias is None and weight.shape[2] == 3 and _learns_narrow(image, weight):
        return _Convolution.apply(image, weight)
    return _forward(image, weight, bias)


def convolve_doubled(
    image: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """What ``conv_transpose3d(image, weight, bias, stride=2, padding=1)`` gives.

    Args:
        image: (n, a, x, y, z), best in channels-last layout.
        weight: (a, b, 4, 4, 4).

    Returns:
        (n, b, 2x, 2y, 2z).
    """
    if bias is None and _learns_narrow(image, weight):
        return _DoubledConvolution.apply(image, weight)
    return F.conv_transpose3d(image, weight, bias, stride=2, padding=1)


def _learns_narrow(image: torch.Tensor, weight: torch.Tensor) -> bool:
    learns = torch.is_grad_enabled() and weight.requires_grad
    return learns and image.device.type == "cpu" and max(weight.shape[:2]) <= NARROW


def _forward(image: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    padding = [size // 2 for size in weight.shape[2:]]
    alone = len(image) == 1 and image.device.type == "cpu" and image.dtype == torch.float32
    if alone and torch.backends.mkldnn.is_available():
        return torch.mkldnn_convolution(image, weight, bias, padding, [1] * 3, [1] * 3, 1)
    return F.conv3d(image, weight, bias, padding=padding)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(image, weight)
        return _forward(image, weight, None)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor]:
        image, weight = ctx.saved_tensors
        by_image = None
        if ctx.needs_input_grad[0]:
            by_image = _gradients(gradient, image, weight, padding=(1, 1, 1), of=(True, False, False))[0]
        return by_image, _weight_gradient(image, weight, gradient)


class _DoubledConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(image, weight)
        return F.conv_transpose3d(image, weight, stride=2, padding=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        image, weight = ctx.saved_tensors
        by_image = F.conv3d(gradient, weight, stride=2, padding=1)
        # a transposed convolution's output stands where a convolution's input does
        return by_image, _weight_gradient(gradient, weight, image, stride=2)


def _weight_gradient(
    image: torch.Tensor, weight: torch.Tensor, gradient: torch.Tensor, *, stride: int = 1
) -> torch.Tensor:
    """Of a convolution of ``image`` with padding 1, by the gradient of its result."""
    n, channels, x, y, z = image.shape
    padded = torch.empty((n, channels, x + 2, y, z), dtype=image.dtype, memory_format=torch.channels_last_3d)
    padded[:, :, 0], padded[:, :, -1] = 0, 0
    padded[:, :, 1:-1] = image
    return _gradients(gradient, padded, weight, padding=(0, 1, 1), of=(False, True, False), stride=stride)[1]


def _gradients(
    gradient: torch.Tensor,
    image: torch.Tensor,
    weight: torch.Tensor,
    *,
    padding: tuple[int, int, int],
    of: tuple[bool, bool, bool],
    stride: int = 1,
) -> tuple[torch.Tensor, ...]:
    """Of a convolution by image, weight and bias, as far as they are wanted."""
    return torch.ops.aten.convolution_backward(
        gradient, image, weight, None, [stride] * 3, padding, [1] * 3, False, [0] * 3, 1, of
    )


def normed_selu(norm: nn.BatchNorm3d, features: torch.Tensor) -> torch.Tensor:
    """What ``nn.SELU()(norm(features))`` gives while ``norm`` learns; its running figures move as well.

    Args:
        norm: in training mode, with weights and running figures.
        features: (n, c, x, y, z), best in channels-last layout.
    """
    result, mean, variance = _NormedSelu.apply(features, norm.weight, norm.bias, norm.eps)
    assert norm.num_batches_tracked is not None and norm.momentum is not None
    assert norm.running_mean is not None and norm.running_var is not None
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
