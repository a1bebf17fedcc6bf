"""Convolutions against torch's own, in double precision."""

import pytest
import torch
import torch.nn.functional as F

from coronet.networks.cpu_convolution import NARROW, CpuConv3d, convolve, convolve_doubled

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


@pytest.mark.parametrize("windows", [1, 2])
def test_a_layer_answers_as_torch_does(windows):
    layer = CpuConv3d(5, 3, 3)
    image = torch.randn(windows, 5, 4, 6, 8)
    with torch.inference_mode():
        close(layer(image), F.conv3d(image.double(), layer.weight.double(), layer.bias.double(), padding=1))
