"""Convolutions that a processor computes several times as fast as torch lets it.

What a step of learning waits for is the gradient of the weights. oneDNN, which computes it for torch, has a
direct kernel for AVX2 that refuses padding along the first axis in space; with it, every voxel is copied 27
times for a matrix product. So where channels are few that axis is padded here, and the kernel pads the rest.

A single window torch does not give to oneDNN at all, unless it has very many channels.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable

NARROW = 32
"""Channels up to which the direct kernel is faster; of 64 it takes twice the matrix product's time."""


class CpuConv3d(nn.Conv3d):
    """A convolution whose result has the size of its input; kernels are odd."""

    def __init__(self, inputs: int, outputs: int, size: int, *, bias: bool = True) -> None:
        super().__init__(inputs, outputs, size, padding=size // 2, bias=bias)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(n, inputs, x, y, z) to (n, outputs, x, y, z)."""
        return convolve(image, self.weight, self.bias)


def convolve(image: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """What ``conv3d(image, weight, bias, padding="same")`` gives.

    Args:
        image: (n, a, x, y, z), best in channels-last layout.
        weight: (b, a, k, k, k), k odd.
        bias: (b,).

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
        bias: (b,).

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
