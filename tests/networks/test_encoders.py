"""Every allowed encoder, on both kinds of input, and its pretrained weights."""

from __future__ import annotations

import copy
import hashlib

import pytest
import torch
from torch import nn

from coronet.errors import InputError, ParamsError
from coronet.networks import encoders
from coronet.networks.encoders import ALLOWED, EncodedUNet, build_encoder, fetch_weights, inflate

CALCIUM, HEART = (48, 48, 32), (64, 64, 64)


@pytest.mark.parametrize("name", ALLOWED)
@pytest.mark.slow
def test_an_allowed_encoder_takes_both_inputs_and_learns(name):
    network = EncodedUNet(name, (4, 8, 16, 32), "selu", weights="none")
    with torch.inference_mode():
        for shape in (CALCIUM, HEART):
            assert network(torch.randn(1, 1, *shape)).shape == (1, 1, *shape)
    network(torch.randn(2, 1, 32, 32, 32)).mean().backward()
    lacking = [key for key, value in network.named_parameters() if value.grad is None]
    # DenseNet's deepest skip is taken before its last convolution.
    assert lacking in ([], ["encoder.features.transition3.conv.weight"])


@pytest.mark.parametrize("depth", [3, 4, 5])
@pytest.mark.parametrize("name", ["resnet18", "densenet121", "efficientnet-b0"])
def test_depth_is_the_number_of_channels(name, depth):
    network = EncodedUNet(name, (4, 8, 8, 16, 16)[:depth], "relu", weights="none").eval()
    assert len(network.encoder.out_channels) == depth + 1
    with torch.inference_mode():
        assert network(torch.zeros(1, 1, 32, 32, 32)).shape == (1, 1, 32, 32, 32)


def test_selu_takes_the_place_of_every_relu():
    network = EncodedUNet("densenet121", (4, 8, 16, 32), "selu", weights="none")
    assert not [part for part in network.modules() if type(part) is nn.ReLU]
    found = next(part for part in network.modules() if isinstance(part, encoders.SeluForRelu))
    values = torch.linspace(-3, 3, 13)
    assert torch.equal(found(values.clone()), torch.selu(values))


def test_the_librarys_table_stays_as_it_is():
    table = encoders._library().encoders.encoders
    before = copy.deepcopy(table["resnet18"]["params"])
    build_encoder("resnet18", depth=3, weights="none")
    assert table["resnet18"]["params"] == before


def test_an_encoder_that_is_not_allowed_is_refused():
    with pytest.raises(ParamsError, match="coronet encoders"):
        EncodedUNet("se_resnet50", (4, 8, 16, 32), "selu", weights="none")
    with pytest.raises(ParamsError, match="3 to 5"):
        EncodedUNet("resnet18", (4, 8), "selu", weights="none")


def test_an_inflated_convolution_answers_a_still_volume_as_a_slice():
    weight = torch.randn(5, 3, 3, 3)
    image = torch.randn(1, 3, 9, 9)
    flat = nn.functional.conv2d(image, weight)
    deep = nn.functional.conv3d(image.unsqueeze(-1).repeat(1, 1, 1, 1, 9), inflate(weight))
    assert torch.allclose(deep[..., 3], flat, atol=1e-5)


def flat_encoder(name: str) -> nn.Module:
    """The library's encoder as it is before our changes, for three channels."""
    entry = encoders._library().encoders.encoders[name]
    return entry["encoder"](**{**entry["params"], "strides": ((2, 2, 2),) * 5})


def flat_state(name: str) -> dict[str, torch.Tensor]:
    """Weights such as are published for the two-dimensional encoder of the same name."""
    module = flat_encoder(name)
    state = {
        key: torch.randn(value.shape[:-1]) if value.ndim == 5 else value
        for key, value in module.state_dict().items()
    }
    last = {"resnet18": "fc", "vgg11_bn": "classifier.6", "efficientnet-b0": "_fc"}[name]
    return state | {f"{last}.weight": torch.zeros(10, 10), f"{last}.bias": torch.zeros(10)}


def publish(folder, state) -> str:
    """Write weights under a name with their hash, and return where they can be had."""
    folder.mkdir(parents=True)
    part = folder / "part"
    torch.save(state, part)
    path = folder / f"weights-{hashlib.sha256(part.read_bytes()).hexdigest()[:8]}.pth"
    part.rename(path)
    return path.as_uri()


@pytest.mark.parametrize("name", ["resnet18", "vgg11_bn", "efficientnet-b0"])
def test_published_weights_are_inflated_and_loaded(name, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    state = flat_state(name)
    url = publish(tmp_path / "there", state)
    settings = encoders._library().encoders.encoders[name]["pretrained_settings"]
    monkeypatch.setitem(settings, "imagenet", {"url": url})
    encoder = build_encoder(name, depth=4, weights="imagenet")
    key, flat = next((key, value) for key, value in state.items() if value.ndim == 4)
    assert torch.allclose(encoder.state_dict()[key], inflate(flat).sum(1, keepdim=True), atol=1e-5)
    assert (tmp_path / "home" / "hub" / "checkpoints" / url.rpartition("/")[2]).exists()


def test_weights_that_cannot_be_had_are_named_with_their_place(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    absent = (tmp_path / "nowhere" / "resnet18-5c106cde.pth").as_uri()
    with pytest.raises(InputError, match=r"resnet18-5c106cde\.pth are not at .*checkpoints"):
        fetch_weights(absent)
    assert not list((tmp_path / "hub" / "checkpoints").glob("*"))


def test_damaged_weights_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = tmp_path / "hub" / "checkpoints" / "resnet18-5c106cde.pth"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"no weights")
    with pytest.raises(InputError, match="damaged"):
        fetch_weights("https://download.pytorch.org/models/resnet18-5c106cde.pth")


def test_weights_of_another_network_are_refused(tmp_path):
    module = flat_encoder("resnet18")
    with pytest.raises(InputError, match="do not fit resnet18"):
        encoders.load_flat_weights(module, {"conv1.weight": torch.zeros(2, 3, 7, 7)}, "resnet18")
