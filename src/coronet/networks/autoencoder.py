"""An autoencoder whose encoder is the U-Net's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from coronet.networks.unet import UNetDecoder, UNetEncoder


class Autoencoder(nn.Module):
    """Reconstructs its input through the innermost features alone, so that they must describe the image."""

    def __init__(self, channels: Sequence[int], activation: str) -> None:
        super().__init__()
        self.encoder = UNetEncoder(channels, activation)
        self.decoder = UNetDecoder(channels, activation, skips=False)
        self.head = nn.Conv3d(channels[0], 1, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(n, 1, x, y, z) in −1 … 1 to a reconstruction of the same shape."""
        return self.head(self.decoder(self.encoder(image)))
