"""Building, saving and loading networks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import yaml

from coronet import config
from coronet.config import NetworkParams
from coronet.errors import InputError, ParamsError, StageError
from coronet.networks.factory import (
    ModelSpec,
    build_autoencoder,
    build_network,
    load_model,
    network_stride,
    save_encoder,
    save_model,
)

PLAIN = NetworkParams(encoder="plain", channels=(4, 8, 16), activation="selu", weights="none")
SHAPE = (24, 24, 16)
HEART = config.load_params().heart
PARAMS = dataclasses.replace(HEART, network=PLAIN, input=dataclasses.replace(HEART.input, shape=(16, 16, 16)))


@pytest.mark.parametrize("encoder", ["plain", "autoencoder", "resnet18"])
@pytest.mark.parametrize("activation", ["selu", "relu"])
def test_every_kind_gives_logits_of_the_inputs_shape(encoder, activation):
    params = dataclasses.replace(PLAIN, encoder=encoder, activation=activation)
    network = build_network(params, shape=SHAPE, seed=0).eval()
    image = torch.randn(2, 1, *SHAPE)
    with torch.inference_mode():
        assert network(image).shape == image.shape


def test_an_untrained_network_expects_little():
    network = build_network(PLAIN, shape=SHAPE, seed=0)
    assert 0.01 < torch.sigmoid(network(torch.randn(2, 1, *SHAPE))).mean().item() < 0.2


def test_the_seed_decides_the_weights_and_the_callers_generator_is_left_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    one, two, other = (build_network(PLAIN, shape=SHAPE, seed=seed) for seed in (7, 7, 8))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.encoder.levels[0][0].weight, other.encoder.levels[0][0].weight)


def test_a_shape_that_does_not_divide_is_refused_with_one_that_does():
    assert network_stride(PLAIN) == 4
    with pytest.raises(ParamsError, match=r"does not divide by 4.*\[24, 24, 16\]"):
        build_network(PLAIN, shape=(24, 24, 18), seed=0)
    deep = NetworkParams("resnet18", (8, 16, 32, 64, 128), "selu", "none")
    with pytest.raises(ParamsError, match="does not divide by 32"):
        build_network(deep, shape=(48, 48, 32), seed=0)


def test_settings_that_mean_nothing_are_refused():
    with pytest.raises(ParamsError, match="activation"):
        build_network(dataclasses.replace(PLAIN, activation="gelu"), shape=SHAPE, seed=0)
    with pytest.raises(ParamsError, match="weights must be none"):
        build_network(dataclasses.replace(PLAIN, weights="imagenet"), shape=SHAPE, seed=0)


def test_a_network_starts_from_the_autoencoders_encoder(tmp_path):
    params = dataclasses.replace(PLAIN, encoder="autoencoder")
    autoencoder = build_autoencoder(params, shape=SHAPE, seed=3)
    image = torch.randn(2, 1, *SHAPE)
    assert autoencoder(image).shape == image.shape
    save_encoder(tmp_path / "encoder.safetensors", autoencoder)
    network = build_network(params, shape=SHAPE, seed=4, pretrained=tmp_path / "encoder.safetensors")
    for name, value in autoencoder.encoder.state_dict().items():
        assert torch.equal(network.encoder.state_dict()[name], value)


def test_a_saved_model_answers_as_before(tmp_path):
    network = build_network(PLAIN, shape=SHAPE, seed=0)
    network(torch.randn(2, 1, *SHAPE) * 3 + 1)
    network.eval()
    save_model(tmp_path, network, ModelSpec("heart", PARAMS, "abc", {"phantom": 3}))
    loaded = load_model(tmp_path)
    image = torch.randn(1, 1, *SHAPE)
    assert torch.allclose(loaded.module(image), network(image), atol=1e-5)
    assert loaded.spec == ModelSpec("heart", PARAMS, "abc", {"phantom": 3})
    assert loaded.params == PARAMS
    assert len(loaded.sha256) == 64


def test_the_same_weights_are_the_same_bytes(tmp_path):
    for name in "ab":
        save_model(
            tmp_path / name,
            build_network(PLAIN, shape=SHAPE, seed=0),
            ModelSpec("heart", PARAMS, "", {"phantom": 1, "dicom": 2}),
        )
    for file in ("weights.safetensors", "model.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_damaged_or_absent_model_is_refused(tmp_path):
    with pytest.raises(StageError, match="dvc repro"):
        load_model(tmp_path)
    save_model(tmp_path, build_network(PLAIN, shape=SHAPE, seed=0), ModelSpec("heart", PARAMS, "", {}))
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"oops")
    with pytest.raises(InputError, match=r"weights\.safetensors"):
        load_model(tmp_path)


def test_both_profiles_build():
    profiles = yaml.safe_load(Path("params.yaml").read_text())["profiles"]
    for raw in profiles.values():
        for model in ("heart", "calcium"):
            params = config.build(config.ModelParams, raw[model], where=model)
            with torch.device("meta"):
                build_network(params.network, shape=params.input.shape, seed=0)
