"""The U-Net with batch norm, and an autoencoder that shares its encoder; `cpu_kernels` makes both fast."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"selu": nn.SELU, "relu": nn.ReLU}


class ConvBlock(nn.Sequential):
    """3 × 3 × 3 convolution, batch norm, activation: (n, inputs, x, y, z) to (n, outputs, x, y, z)."""

    def __init__(self, inputs: int, outputs: int, activation: str) -> None:
        super().__init__(
            nn.Conv3d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm3d(outputs),
            ACTIVATIONS[activation](inplace=True),
        )


class UNetEncoder(nn.Module):
    """Halves the grid from level to level.

    The outermost level has one convolution and the others two: at full resolution a second one would take
    as long as all deeper levels together.
    """

    def __init__(self, channels: Sequence[int], activation: str) -> None:
        super().__init__()
        self.channels = tuple(channels)
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


class UpBlock(ConvBlock):
    """A `ConvBlock` of features on half the grid, doubled by copying, and of the encoder's beside them."""

    def forward(self, coarse: torch.Tensor, skip: torch.Tensor | None = None) -> torch.Tensor:
        """(n, a, x, y, z) and (n, b, 2x, 2y, 2z) to (n, outputs, 2x, 2y, 2z); a + b are the inputs."""
        image = F.interpolate(coarse, scale_factor=2, mode="nearest")
        return super().forward(image if skip is None else torch.cat([image, skip], dim=1))


class UNetDecoder(nn.Module):
    """Doubles the grid from level to level, with the encoder's features beside or without them.

    Channels are reduced before the grid is doubled, at an eighth of the cost of reducing after.
    """

    def __init__(self, channels: Sequence[int], activation: str, *, skips: bool) -> None:
        super().__init__()
        inward = tuple(reversed(channels))
        self.skips = skips
        self.reduce = nn.ModuleList(nn.Conv3d(a, b, 1) for a, b in itertools.pairwise(inward))
        self.merge = nn.ModuleList(UpBlock(b * (1 + skips), b, activation) for b in inward[1:])

    def forward(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Features of all levels, outermost first, to (n, channels[0], x, y, z)."""
        result = features[-1]
        for reduce, merge, skip in zip(self.reduce, self.merge, reversed(features[:-1]), strict=True):
            result = merge(reduce(result), skip if self.skips else None)
        return result


class UNet(nn.Module):
    """Encoder, decoder and one channel of logits."""

    def __init__(self, channels: Sequence[int], activation: str, *, skips: bool = True) -> None:
        super().__init__()
        self.encoder = UNetEncoder(channels, activation)
        self.decoder = UNetDecoder(channels, activation, skips=skips)
        self.head = nn.Conv3d(channels[0], 1, 1)
        if skips:
            expect_little(self.head)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(n, 1, x, y, z) in −1 … 1 to logits, or a reconstruction, of the same shape."""
        return self.head(self.decoder(self.encoder(image)))


class Autoencoder(UNet):
    """Reconstructs its input through the innermost features alone, so that they must describe the image."""

    def __init__(self, channels: Sequence[int], activation: str) -> None:
        super().__init__(channels, activation, skips=False)


def expect_little(head: nn.Conv3d) -> None:
    """Let an untrained network answer with a probability of 0.05: what is looked for is rare.

    Without it the first epochs go into learning that most voxels are background (Lin et al. 2017, focal
    loss, section 4.1).
    """
    assert head.bias is not None
    nn.init.constant_(head.bias, -math.log((1 - 0.05) / 0.05))
