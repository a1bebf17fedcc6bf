"""The U-Net's short cuts against the layers that they stand for."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from coronet.networks.autoencoder import Autoencoder
from coronet.networks.cpu_convolution import CpuConv3d
from coronet.networks.unet import ConvBlock, UNet, WideningBlock


def by_layers(network: nn.Module) -> nn.Module:
    """The same network in double precision, each layer called for itself."""
    network = copy.deepcopy(network).double()

    def doubled(block: WideningBlock):
        def forward(coarse: torch.Tensor, beside: torch.Tensor | None = None) -> torch.Tensor:
            copies = F.interpolate(coarse, scale_factor=2, mode="nearest")
            return nn.Sequential.forward(
                block, copies if beside is None else torch.cat([copies, beside], dim=1)
            )

        return forward

    for block in network.modules():
        if isinstance(block, WideningBlock):
            block.forward = doubled(block)
        elif isinstance(block, ConvBlock):
            block.forward = lambda image, block=block: nn.Sequential.forward(block, image)
        elif isinstance(block, CpuConv3d):
            block.forward = nn.Conv3d.forward.__get__(block)
    return network


@pytest.mark.parametrize("activation", ["selu", "relu"])
@pytest.mark.parametrize("kind", [UNet, Autoencoder])
def test_learning_is_that_of_the_layers(kind, activation):
    torch.manual_seed(3)
    ours = kind((4, 8, 12), activation).to(memory_format=torch.channels_last_3d)
    plain = by_layers(ours)
    image = torch.randn(2, 1, 16, 8, 12)
    answer, expected = ours(image), plain(image.double())
    torch.testing.assert_close(answer, expected.float(), rtol=1e-4, atol=1e-4)

    weight = torch.randn_like(answer)
    (answer * weight).sum().backward()
    (expected * weight.double()).sum().backward()
    for (name, got), want in zip(ours.named_parameters(), plain.parameters(), strict=True):
        close = torch.linalg.vector_norm(got.grad - want.grad) <= 1e-4 * torch.linalg.vector_norm(want.grad)
        assert close or float(want.grad.abs().max()) < 1e-8, name
    for (name, got), want in zip(ours.named_buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(got.double(), want.double(), rtol=1e-5, atol=1e-6, msg=name)


def test_answers_are_those_of_the_layers():
    torch.manual_seed(4)
    ours = UNet((4, 8, 12), "selu")
    for _ in range(3):
        ours(torch.randn(2, 1, 8, 8, 8) + 1)
    plain = by_layers(ours).eval()
    image = torch.randn(1, 1, 8, 16, 12)
    torch.testing.assert_close(ours.eval()(image), plain(image.double()).float(), rtol=1e-4, atol=1e-4)
