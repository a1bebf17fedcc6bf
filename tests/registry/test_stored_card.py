"""`coronet models card` prints the card of the networks that `coronet score` uses."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from coronet.cli import app
from coronet.config import MODELS
from coronet.errors import InputError
from coronet.files import read_json, write_json
from coronet.networks.bundled import bundled_folder
from coronet.networks.factory import load_model
from coronet.registry import registration
from coronet.registry.bundle import BUNDLED_CARD
from coronet.registry.packaging import copy_model
from coronet.registry.resolve_models import resolve_models
from coronet.registry.stored_card import stored_card


def test_the_cards_of_the_package_are_printed_in_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    printed = CliRunner().invoke(app, ["models", "card"])
    assert printed.exit_code == 0
    assert printed.output == CliRunner().invoke(app, ["models", "card", "--models", "bundled"]).output
    for model in MODELS:
        loaded = load_model(bundled_folder(model))
        for text in (loaded.sha256, *loaded.spec.attributions):
            assert text in printed.output
    for part in ("# heart", "# calcium", "## Intended use", "## Figures", "## Limits", "## Licence"):
        assert part in printed.output
    cards = json.loads(CliRunner().invoke(app, ["models", "card", "--json"]).output)
    assert list(cards) == list(MODELS)


def test_trainings_and_versions_have_cards_of_their_own_weights(tiny):
    registration.register_version("heart", tiny)
    fit = tiny / "build" / "heart" / "fit"
    version = resolve_models("heart=models:/heart/1", tiny)["heart"]
    weights = load_model(fit).sha256
    card = stored_card("heart", version)
    assert weights in card and "| Dice | 0.500 |" in card
    path = tiny / "build" / "heart" / "evaluation" / "metrics.json"
    assert "Not evaluated" in stored_card("heart", fit)  # the evaluation names no weights
    write_json(path, read_json(path) | {"part": "tune", "weights_sha256": {"heart": weights}})
    card = stored_card("heart", fit)
    assert weights in card and "| Dice | 0.500 |" in card


def test_a_card_of_other_weights_is_refused(tiny, tmp_path):
    copy_model(tiny / "build" / "heart" / "fit", tmp_path / "heart")
    (tmp_path / "heart" / BUNDLED_CARD).write_text("# heart, of other weights")
    with pytest.raises(InputError, match="does not name the weights beside it"):
        stored_card("heart", tmp_path / "heart")
    (tmp_path / "heart" / BUNDLED_CARD).unlink()
    assert "Not evaluated" in stored_card("heart", tmp_path / "heart")
    with pytest.raises(InputError, match="holds a heart network, no calcium network"):
        stored_card("calcium", tmp_path / "heart")
