"""What a trial may draw, and what becomes of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import optuna
import pytest

from coronet import config
from coronet.errors import ParamsError
from coronet.networks.factory import build_network, network_stride
from coronet.search import space

PARAMS = config.load_params(Path(__file__).resolve().parents[2] / "params.yaml")
DRAWN = {
    "network.encoder": "efficientnet-b0",
    "network.activation": "relu",
    "loss.dice": 0.31234567,
    "loss.focal_gamma": 1.0,
    "optimiser.learning_rate": 0.00123456,
}


def test_draws_become_parameters_that_read_well():
    made = space.apply(DRAWN, PARAMS.heart)
    assert (made.loss.dice, made.loss.focal) == (0.3123, 0.6877)
    assert made.optimiser.learning_rate == 0.001235
    assert made.network.encoder == "efficientnet-b0" and made.network.activation == "relu"
    assert made.input == PARAMS.heart.input and made.augment == PARAMS.heart.augment


def test_levels_are_left_off_where_an_encoder_halves_once_more():
    made = space.apply(DRAWN, PARAMS.calcium)
    assert made.network.channels == PARAMS.calcium.network.channels[:4]
    assert not any(size % network_stride(made.network) for size in made.input.shape)
    build_network(made.network, shape=made.input.shape, seed=0)
    plain = space.apply({**DRAWN, "network.encoder": "plain"}, PARAMS.calcium)
    assert plain.network.channels == PARAMS.calcium.network.channels


def test_weights_are_never_fetched():
    network = dataclasses.replace(PARAMS.heart.network, encoder="resnet18", weights="imagenet")
    made = space.apply(DRAWN, dataclasses.replace(PARAMS.heart, network=network))
    assert made.network.weights == "none"


def test_every_draw_of_both_profiles_is_within_the_space_and_fits(tmp_path):
    text = (Path(__file__).resolve().parents[2] / "params.yaml").read_text()
    for profile in ("demo", "release", "paper"):
        path = tmp_path / "params.yaml"
        path.write_text(text.replace("profile: demo", f"profile: {profile}", 1))
        params = config.load_params(path)
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
        for model in ("heart", "calcium"):
            space.check_space(params.search, params.model(model))
            for _ in range(30):
                drawn = space.draw(study.ask(), params.search)
                made = space.apply(drawn, params.model(model))
                low, high = params.search.dice
                assert low <= made.loss.dice <= high
                assert made.network.encoder in params.search.encoders


def test_a_study_stays_the_same_one_after_its_winner_was_adopted():
    before = space.template(PARAMS.heart, PARAMS.search)
    assert space.template(space.apply(DRAWN, PARAMS.heart), PARAMS.search) == before


def test_the_present_parameters_are_a_draw_where_they_are_within_the_space():
    present = space.present_draw(PARAMS.heart, PARAMS.search)
    assert space.apply(present, PARAMS.heart) == PARAMS.heart
    elsewhere = dataclasses.replace(PARAMS.search, encoders=("plain",))
    assert space.present_draw(PARAMS.heart, elsewhere) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dice": (0.8, 0.2)}, "must be below"),
        ({"folds_used": 7}, "folds_used"),
        ({"pruner": "secateurs"}, "median, hyperband or none"),
        ({"grace_s": 1}, "grace_s must be more"),
        ({"patches": 0.0}, "patches"),
        ({"encoders": ()}, "at least one"),
        ({"encoders": ("resnet19",)}, r"search\.encoders: .resnet19. is not allowed"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(change, words):
    with pytest.raises(ParamsError, match=words):
        dataclasses.replace(PARAMS.search, **change)
