"""``--models`` names a heart and a calcium network in one way."""

from __future__ import annotations

from pathlib import Path

import pytest

from coronet.errors import InputError
from coronet.files import sha256_file
from coronet.networks.factory import load_model
from coronet.registry import registration
from coronet.registry.resolve_models import resolve_models
from coronet.tracking import mlflow_client


def test_models_are_named_by_alias_by_part_or_as_built(tiny, tmp_path):
    built = {model: tiny / "build" / model / "fit" for model in ("heart", "calcium")}
    assert resolve_models("build", tiny) == built
    with pytest.raises(InputError, match="neither heart nor calcium has a challenger"):
        resolve_models("challenger", tiny)
    for model in built:
        registration.register_version(model, tiny)
    with mlflow_client.open_client(tiny / "mlruns") as client:
        client.set_registered_model_alias("heart", "champion", "1")
        client.delete_registered_model_alias("heart", "challenger")
    with pytest.raises(InputError, match="calcium has no champion yet"):
        resolve_models("champion", tiny)
    found = resolve_models("challenger", tiny)
    assert found != built
    for model, folder in found.items():
        weights = built[model] / "weights.safetensors"
        assert sha256_file(folder / "weights.safetensors") == sha256_file(weights)
    folder = tmp_path / "a,b=c"
    named = resolve_models(f"heart=models:/heart/1,calcium={folder}", tiny)
    assert named == {"heart": found["heart"], "calcium": folder}
    assert resolve_models("calcium=models:/calcium@challenger", tiny) == built | {"calcium": found["calcium"]}


def test_the_networks_of_the_package_are_taken_where_none_are_named(tmp_path):
    found = resolve_models(project=tmp_path)
    assert found == resolve_models("bundled", tmp_path)
    assert {model: load_model(folder).spec.model for model, folder in found.items()} == {
        "heart": "heart",
        "calcium": "calcium",
    }
    assert resolve_models("heart=bundled,calcium=mine", tmp_path) == found | {"calcium": Path("mine")}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not understood"),
        ("best", "best is not understood"),
        ("heart=", "not understood"),
        ("heart=a,heart=b", "not understood"),
        ("lungs=a", "not understood"),
        ("heart=models:/calcium@champion", "names no version of heart"),
        ("heart=models:/heart", "names no version of heart"),
        ("models:/heart@champion", "not understood"),
        ("heart=models:/heart/7", "there is no such version"),
    ],
)
def test_what_is_not_understood_is_refused(bare, text, words):
    with pytest.raises(InputError, match=words):
        resolve_models(text, bare)
