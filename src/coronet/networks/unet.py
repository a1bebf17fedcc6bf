"""The U-Net with batch norm, in parts that an autoencoder can share."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import nn

from coronet.networks.cpu_convolution import CpuConv3d, convolve, convolve_doubled
from coronet.networks.cpu_norm import normed_selu

ACTIVATIONS: dict[str, type[nn.Module]] = {"selu": nn.SELU, "relu": nn.ReLU}


class ConvBlock(nn.Sequential):
    """3 × 3 × 3 convolution, batch norm, activation."""

    def __init__(self, inputs: int, outputs: int, activation: str) -> None:
        super().__init__(
            CpuConv3d(inputs, outputs, 3, bias=False),
            nn.BatchNorm3d(outputs),
            ACTIVATIONS[activation](inplace=True),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(n, inputs, x, y, z) to (n, outputs, x, y, z)."""
        return self.activate(self[0](image))

    def activate(self, features: torch.Tensor) -> torch.Tensor:
        """Batch norm and activation."""
        _, norm, activation = self
        if self.training and isinstance(activation, nn.SELU) and features.device.type == "cpu":
            return normed_selu(norm, features)
        return activation(norm(features))


class UNetEncoder(nn.Module):
    """Halves the grid from level to level.

    The outermost level has one convolution and the others two: at full resolution a second one would take
    as long as all deeper levels together.
    """

    def __init__(self, channels: Sequence[int], activation: str) -> None:
        super().__init__()
        self.channels = tuple(channels)
        self.stride = 2 ** (len(channels) - 1)
        self.levels = nn.ModuleList([ConvBlock(1, channels[0], activation)])
        for inputs, outputs in itertools.pairwise(channels):
            self.levels.append(
                nn.Sequential(
                    nn.MaxPool3d(2),
                    ConvBlock(inputs, outputs, activation),
                    ConvBlock(outputs, outputs, activation),
                )
            )

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Features of all levels, outermost first; image is (n, 1, x, y, z)."""
        features = []
        for level in self.levels:
            image = level(image)
            features.append(image)
        return features


class WideningBlock(ConvBlock):
    """A `ConvBlock` of features on half the grid, doubled by copying, and of others beside them.

    The copies are never made: convolving them equals a transposed convolution with stride 2 whose kernel sums
    the weights that meet the same copy, 8 products for each voxel in place of 27.
    """

    def __init__(self, inputs: int, outputs: int, activation: str) -> None:
        super().__init__(inputs, outputs, activation)
        sums = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0]])
        self.register_buffer("sums", torch.kron(torch.kron(sums, sums), sums), persistent=False)

    def forward(self, coarse: torch.Tensor, beside: torch.Tensor | None = None) -> torch.Tensor:
        """(n, a, x, y, z) and (n, b, 2x, 2y, 2z) to (n, outputs, 2x, 2y, 2z); a + b are the inputs."""
        convolution = self[0]
        above, level = convolution.weight.tensor_split([coarse.shape[1]], dim=1)
        kernel = (above.transpose(0, 1).flatten(2) @ self.sums).unflatten(2, (4, 4, 4))
        features = convolve_doubled(coarse, kernel, convolution.bias)
        if beside is not None:
            features += convolve(beside, level)
        return self.activate(features)


class UNetDecoder(nn.Module):
    """Doubles the grid from level to level, with the encoder's features beside or without them.

    Channels are reduced before the grid is doubled, at an eighth of the cost of reducing after.
    """

    def __init__(self, channels: Sequence[int], activation: str, *, skips: bool) -> None:
        super().__init__()
        inward = tuple(reversed(channels))
        self.skips = skips
        self.reduce = nn.ModuleList(CpuConv3d(a, b, 1) for a, b in itertools.pairwise(inward))
        self.merge = nn.ModuleList(WideningBlock(b * (1 + skips), b, activation) for b in inward[1:])

    def forward(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Features of all levels, outermost first, to (n, channels[0], x, y, z)."""
        result = features[-1]
        for reduce, merge, skip in zip(self.reduce, self.merge, reversed(features[:-1]), strict=True):
            result = merge(reduce(result), skip if self.skips else None)
        return result


class UNet(nn.Module):
    """Encoder, decoder with skips and one channel of logits."""

    def __init__(self, channels: Sequence[int], activation: str) -> None:
        super().__init__()
        self.encoder = UNetEncoder(channels, activation)
        self.decoder = UNetDecoder(channels, activation, skips=True)
        self.head = CpuConv3d(channels[0], 1, 1)
        expect_little(self.head)

    @property
    def stride(self) -> int:
        """What every axis of the input must divide by."""
        return self.encoder.stride

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(n, 1, x, y, z) in −1 … 1 to logits of the same shape."""
        return self.head(self.decoder(self.encoder(image)))


def expect_little(head: nn.Conv3d, share: float = 0.05) -> None:
    """Let an untrained network answer with probability ``share``: what we look for is rare.

    Without it the first epochs go into learning that most voxels are background (Lin et al. 2017, focal
    loss, section 4.1).
    """
    nn.init.constant_(head.bias, -math.log((1 - share) / share))
