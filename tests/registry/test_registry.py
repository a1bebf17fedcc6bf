"""Versions: made once, logged, loaded without a pickle, and brought back."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from coronet.errors import InputError, LedgerError, PromotionError, StageError
from coronet.files import read_json, sha256_file
from coronet.networks.factory import load_model
from coronet.registry import promotion, promotion_log, reference_output, registration, versions
from coronet.tracking import mlflow_client


def test_register_makes_a_version_once_and_logs_it(tiny, helpers):
    made = registration.register_version("heart", tiny)
    assert made.created and made.version.number == 1 and made.version.fingerprint == "h" + "1" * 63
    assert made.version.weights_sha256 == sha256_file(tiny / "build/heart/fit/weights.safetensors")
    again = registration.register_version("heart", tiny)
    assert not again.created and again.version == made.version
    entries = promotion_log.read(tiny)
    assert [(item.kind, item.model, item.version) for item in entries] == [("registered", "heart", 1)]
    assert entries[0].details["weights_sha256"] == made.version.weights_sha256
    assert entries[0].details["git_commit"] == helpers.git(tiny, "rev-parse", "HEAD").strip()
    with mlflow_client.open_client(tiny / "mlruns") as client:
        assert versions.aliases(client, "heart") == {"challenger": 1}
        assert versions.find(client, "heart", "challenger") == versions.find(client, "heart", "1")
        assert versions.find(client, "heart", "champion") is None


@pytest.fixture(scope="module")
def registered_project(templates, tmp_path_factory) -> Path:
    """``heart/1`` is registered; to be copied and not changed."""
    project = shutil.copytree(
        templates / "tiny", tmp_path_factory.mktemp("registered") / "project", symlinks=True
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        registration.register_version("heart", project)
    return project


@pytest.fixture
def registered(registered_project, tmp_path, monkeypatch) -> Path:
    """The test's own copy."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return shutil.copytree(registered_project, tmp_path / "project", symlinks=True)


def find_version(project: Path, model: str = "heart") -> versions.Version:
    with mlflow_client.open_client(project / "mlruns") as client:
        return versions.find(client, model, "1")


def test_what_a_version_holds(registered, helpers, tmp_path):
    tiny, version = registered, find_version(registered)
    with mlflow_client.open_client(tiny / "mlruns") as client:
        folder = versions.download(client, version, "", tmp_path / "all")
        fit = versions.fetch(client, version, tmp_path / "fit")
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert not {name for name in names if name.endswith((".pkl", ".pickle", ".pt", ".pth", ".bin"))}
    assert names >= {
        "MLmodel",
        "artifacts/fit/weights.safetensors",
        "artifacts/fit/model.json",
        "code/coronet/networks/factory.py",
        "dvc.lock",
        "golden.json",
        "input_example.json",
        "model-card.md",
        "params.yaml",
    }
    assert (
        str(tiny) not in (folder / "MLmodel").read_text() and "/tmp" not in (folder / "MLmodel").read_text()
    )
    card = (folder / "model-card.md").read_text()
    for words in (
        *("Not a medical device", "synthetic phantoms", "0.500", "Apache-2.0", version.fingerprint),
        "Below the default floors of the gate**: Dice 0.5 (gate.heart.dice wants at least 0.9)",
    ):
        assert words in card
    golden = read_json(folder / "golden.json")
    assert reference_output.difference(fit, golden) <= golden["tolerance"]
    assert reference_output.golden_output(fit).shape == load_model(fit).params.input.shape

    other = helpers.write_fit(tiny, "heart", fingerprint="other", seed=1)
    assert reference_output.difference(other, golden) > golden["tolerance"]


def test_pyfunc_gives_what_the_network_gives(registered, monkeypatch):
    import mlflow

    find_version(registered)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_client.tracking_uri(registered / "mlruns"))
    loaded = mlflow.pyfunc.load_model("models:/heart/1")
    volumes = np.stack([reference_output.golden_volume((20, 18, 16))[None]] * 2)
    answer = loaded.predict(volumes)
    network = load_model(registered / "build/heart/fit")
    assert answer.shape == volumes.shape
    np.testing.assert_allclose(answer, reference_output.network_output(volumes, network), atol=1e-6)
    with pytest.raises(mlflow.exceptions.MlflowException, match="float64"):
        loaded.predict(volumes.astype(np.float64))


@pytest.mark.parametrize(("model", "other"), [("heart", "calcium"), ("calcium", "heart")])
def test_promoting_one_model_without_the_other_names_what_is_missing(tiny, forked_coronet, model, other):
    registration.register_version(model, tiny)
    before = (tiny / promotion_log.LOG).read_bytes()
    for name in (model, other):
        with pytest.raises(PromotionError, match=f"`coronet models register {other}`"):
            promotion.promote(name, tiny, first=True)
    if model == "heart":
        done = forked_coronet(tiny, "models", "promote", model, "--first", "--json")
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert f"`coronet models register {other}`" in done.stderr
        assert "Traceback" not in done.stderr
    assert (tiny / promotion_log.LOG).read_bytes() == before
    with mlflow_client.open_client(tiny / "mlruns") as client:
        assert versions.aliases(client, model) == {"challenger": 1}


def test_registering_and_loading_warn_of_nothing(registered, coronet, monkeypatch):
    done = coronet(registered, "models", "register", "calcium")
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    find_version(registered)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_client.tracking_uri(registered / "mlruns"))
    load = (
        "import mlflow, sys\nfor name in sys.argv[1:]: mlflow.pyfunc.load_model(f'models:/{name}@challenger')"
    )
    command = [sys.executable, "-c", load, "heart", "calcium"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Warning" not in done.stderr


def test_uncommitted_code_is_refused_or_kept(tiny, helpers, tmp_path):
    (tiny / "dvc.lock").write_text((tiny / "dvc.lock").read_text() + "\n")
    assert registration.register_version("heart", tiny).created, "a lock of one's own is no obstacle"

    (tiny / "src").mkdir()
    (tiny / "src" / "new.py").write_text("VALUE = 1\n")
    (tiny / "dvc.yaml").write_text(helpers.graph + "# changed\n")
    with pytest.raises(InputError, match=r"dvc\.yaml, src/new\.py.*--allow-dirty"):
        registration.register_version("calcium", tiny)
    version = registration.register_version("calcium", tiny, allow_dirty=True).version
    assert version.tags["dirty"] == "true"
    with mlflow_client.open_client(tiny / "mlruns") as client:
        patch = versions.download(client, version, "uncommitted.patch", tmp_path).resolve()
    helpers.git(tiny, "checkout", "-q", "dvc.yaml")
    (tiny / "src" / "new.py").unlink()
    helpers.git(tiny, "apply", str(patch))
    assert (tiny / "src" / "new.py").read_text() == "VALUE = 1\n"
    assert (tiny / "dvc.yaml").read_text().endswith("# changed\n")


def test_training_that_does_not_fit_is_refused(tiny, helpers):
    with pytest.raises(InputError, match="liver"):
        registration.register_version("liver", tiny)
    text = (tiny / "params.yaml").read_text()
    (tiny / "params.yaml").write_text(text.replace("threshold: 0.5", "threshold: 0.6"))
    with pytest.raises(StageError, match="other parameters"):
        registration.register_version("heart", tiny, allow_dirty=True)
    (tiny / "params.yaml").write_text(text)
    helpers.write_fit(tiny, "heart", fingerprint="swapped", seed=3)
    with pytest.raises(StageError, match=r"dvc\.lock"):
        registration.register_version("heart", tiny)
    weights = tiny / "build/calcium/fit/weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(StageError, match="model.json"):
        registration.register_version("calcium", tiny)
    assert not promotion_log.read(tiny)


def test_resolve_verifies_and_names_what_is_there(registered):
    tiny, version = registered, find_version(registered)
    place = versions.resolve("models:/heart@challenger", tiny)
    assert load_model(place).sha256 == version.weights_sha256
    assert versions.resolve("models:/heart/1", tiny) == place
    assert versions.resolve("build/heart/fit", tiny) == Path("build/heart/fit")
    for uri in ("models:/heart@champion", "models:/heart/2", "models:/heart", "models:/../etc@x"):
        with pytest.raises(InputError, match="heart|understood"):
            versions.resolve(uri, tiny)
    shutil.rmtree(place)
    stored = next((tiny / "mlruns" / "artifacts").rglob("artifacts/fit/weights.safetensors"))
    stored.write_bytes(stored.read_bytes()[:-1] + b"x")
    with pytest.raises(LedgerError, match="not those that were registered"):
        versions.resolve("models:/heart/1", tiny)


def register_in_a_process(project: Path) -> None:
    registration.register_version("heart", project)


@pytest.mark.slow
def test_two_registrations_at_once_make_one_version(tiny):
    shutil.rmtree(tiny / "mlruns")
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=register_in_a_process, args=(tiny,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    assert len(promotion_log.read(tiny)) == 1 and not promotion_log.verify(tiny)
    with mlflow_client.open_client(tiny / "mlruns") as client:
        assert [item.number for item in versions.versions(client, "heart")] == [1]


def test_card_states_what_is_not_known_and_the_limits_of_phantoms(bare):
    from coronet.registry.model_card import model_card

    description = json.loads((bare / "build/heart/fit/model.json").read_text())
    card = model_card("heart", description | {"cases": {}}, metrics=None, tags={})
    assert "not recorded" in card and "Not evaluated" in card and "Not a medical device" in card
    card = model_card("heart", description, metrics=None, tags={})
    assert "Phantoms have stents, calcified valves, pacemaker leads and plaques smeared by motion" in card
    assert "lack stents" not in card


def test_card_names_drawn_calcium_and_who_gave_the_scans(bare):
    from coronet.registry.model_card import model_card

    description = json.loads((bare / "build/heart/fit/model.json").read_text())
    assert "attributions" not in description
    drawn = {"cases": {"deposited": 12, "phantom": 8}, "attributions": ["Collection A (CC BY 4.0)"]}
    card = model_card("calcium", description | drawn, metrics=None, tags={})
    assert "12 × deposited, 8 × phantom" in card
    assert "12 of its cases were real scans with drawn calcium." in card
    assert "- Collection A (CC BY 4.0)" in card
    card = model_card("calcium", description | {"cases": {"deposited": 3}}, metrics=None, tags={})
    assert "Learned from drawn calcium" in card
    assert "Learned from real scans" not in card
