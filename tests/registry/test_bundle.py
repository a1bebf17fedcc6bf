"""The networks that come with the package: how trainings become them, and those that are there."""

from __future__ import annotations

import pytest

from coronet.config import MODELS
from coronet.errors import InputError, StageError
from coronet.files import read_json, sha256_file, write_json
from coronet.networks.bundled import bundled_folder
from coronet.networks.factory import load_model
from coronet.registry import bundle
from coronet.registry.bundle import BUNDLED_CARD, LARGEST_MB, bundle_models
from coronet.scoring.model_statement import state_models
from coronet.scoring.predicted_masks import origin_of
from made_chests import write_calibration


def test_trainings_become_the_networks_of_a_release(tiny, tmp_path):
    fits = {model: tiny / "build" / model / "fit" for model in MODELS}
    shas = {model: sha256_file(fit / "weights.safetensors") for model, fit in fits.items()}
    write_calibration(tiny / "build" / "calcium", shas["calcium"], heart_sha256=shas["heart"])
    path = fits["calcium"] / "model.json"
    write_json(path, read_json(path) | {"attributions": ["A collection, its authors, CC BY 4.0"]})
    out = tmp_path / "weights"
    assert bundle_models(tiny, out, release="1.2.3") == shas
    models = {model: load_model(out / model) for model in MODELS}
    assert models["calcium"].calibration is not None
    text = state_models({model: origin_of(loaded) for model, loaded in models.items()}).text
    assert "As they come with Coronet 1.2.3" in text and "--models build" in text
    for model, loaded in models.items():
        assert (loaded.sha256, loaded.spec.release) == (shas[model], "1.2.3")
        assert origin_of(loaded).to_json()["release"] == "1.2.3"
        assert loaded.sha256[:12] in text
        card = (out / model / BUNDLED_CARD).read_text()
        assert loaded.sha256 in card and "Not a medical device" in card and "Apache-2.0" in card
    assert "A collection, its authors, CC BY 4.0" in (out / "calcium" / BUNDLED_CARD).read_text()
    mine = state_models({model: origin_of(load_model(fit)) for model, fit in fits.items()}).text
    assert "come with Coronet" not in mine


def test_what_must_not_be_shipped_is_refused_and_replaces_nothing(tiny, tmp_path, monkeypatch):
    out = tmp_path / "weights"
    shas = bundle_models(tiny, out, release="1.2.3")
    write_calibration(tiny / "build" / "calcium", shas["calcium"], heart_sha256="0" * 64)
    with pytest.raises(StageError, match="another heart network"):
        bundle_models(tiny, out, release="1.2.4")
    (tiny / "build" / "calcium" / "calibration.json").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(bundle, "LARGEST_MB", 0.001)
        with pytest.raises(InputError, match="takes at most"):
            bundle_models(tiny, out, release="1.2.4")
    assert {load_model(out / model).spec.release for model in MODELS} == {"1.2.3"}


@pytest.mark.parametrize("model", MODELS)
def test_the_package_holds_a_small_network_with_its_card(model):
    folder = bundled_folder(model)
    loaded = load_model(folder)
    assert loaded.spec.release
    assert (folder / "weights.safetensors").stat().st_size <= LARGEST_MB * 1e6
    card = (folder / BUNDLED_CARD).read_text()
    assert all(text in card for text in (loaded.sha256, loaded.spec.release, *loaded.spec.attributions))
    parts = ("Not a medical device", "## Intended use", "## Limits", "## Licence")
    assert all(part in card for part in parts)
