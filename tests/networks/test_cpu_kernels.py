"""The faster layers against torch's own, in double precision."""

import copy

import pytest
import torch
import torch.nn.functional as F

from coronet.networks import cpu_kernels
from coronet.networks.cpu_kernels import NARROW, accelerate, convolve, convolve_doubled
from coronet.networks.unet import Autoencoder, UNet

SHAPES = [(1, 4, 3), (8, 8, 3), (6, 1, 1), (NARROW, NARROW, 3), (NARROW + 1, 5, 3)]


def close(got: torch.Tensor, want: torch.Tensor) -> None:
    assert got.shape == want.shape
    assert torch.linalg.vector_norm(got - want) <= 1e-5 * torch.linalg.vector_norm(want)


def learned(compute, image, weight):
    """Result and gradients by ``image`` and ``weight`` of a sum in which every voxel weighs differently."""
    image, weight = image.clone().requires_grad_(), weight.clone().requires_grad_()
    result = compute(image, weight)
    share = torch.linspace(-1, 1, result.numel(), dtype=result.dtype).view(result.shape)
    return result, *torch.autograd.grad((result * share).sum(), (image, weight))


@pytest.mark.parametrize("windows", [1, 3])
@pytest.mark.parametrize("inputs,outputs,size", SHAPES)
def test_convolution_is_that_of_torch(inputs, outputs, size, windows):
    torch.manual_seed(1)
    image = torch.randn(windows, inputs, 6, 7, 5).contiguous(memory_format=torch.channels_last_3d)
    weight = torch.randn(outputs, inputs, size, size, size)
    ours = learned(convolve, image, weight)
    plain = learned(
        lambda image, weight: F.conv3d(image, weight, padding=size // 2), image.double(), weight.double()
    )
    for got, want in zip(ours, plain, strict=True):
        close(got, want)


@pytest.mark.parametrize("windows", [1, 3])
@pytest.mark.parametrize("inputs,outputs", [(8, 8), (3, 5), (NARROW + 1, 4)])
def test_doubled_convolution_is_that_of_torch(inputs, outputs, windows):
    torch.manual_seed(2)
    image = torch.randn(windows, inputs, 4, 3, 5).contiguous(memory_format=torch.channels_last_3d)
    weight = torch.randn(inputs, outputs, 4, 4, 4)
    ours = learned(convolve_doubled, image, weight)
    plain = learned(
        lambda image, weight: F.conv_transpose3d(image, weight, stride=2, padding=1),
        image.double(),
        weight.double(),
    )
    for got, want in zip(ours, plain, strict=True):
        close(got, want)


@pytest.mark.parametrize("activation", ["selu", "relu"])
@pytest.mark.parametrize("kind", [UNet, Autoencoder])
def test_an_accelerated_network_learns_the_same(kind, activation):
    torch.manual_seed(3)
    plain = kind((4, 8, 12), activation)
    ours = accelerate(copy.deepcopy(plain)).to(memory_format=torch.channels_last_3d)
    assert ours.state_dict().keys() == plain.state_dict().keys()
    plain.double()
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


def test_an_accelerated_network_predicts_the_same():
    torch.manual_seed(4)
    plain = UNet((4, 8, 12), "selu")
    for _ in range(3):
        plain(torch.randn(2, 1, 8, 8, 8) + 1)
    ours = accelerate(copy.deepcopy(plain))
    plain = plain.double().eval()
    image = torch.randn(1, 1, 8, 16, 12)
    torch.testing.assert_close(ours.eval()(image), plain(image.double()).float(), rtol=1e-4, atol=1e-4)


def test_an_accelerated_network_learns_after_it_has_predicted():
    network = accelerate(UNet((2, 4), "selu"))
    cpu_kernels._copy_sums.cache_clear()
    with torch.inference_mode():
        network(torch.zeros(1, 1, 4, 4, 4))
    network(torch.randn(2, 1, 4, 4, 4)).sum().backward()
