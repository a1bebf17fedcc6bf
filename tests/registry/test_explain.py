"""From an alias or a score back to code, parameters, data, figures and people."""

from __future__ import annotations

import pytest
import yaml

from coronet.errors import InputError
from coronet.files import read_json, write_json
from coronet.fingerprint import dvc_md5
from coronet.registry import promotion, registration
from coronet.registry.explain import explain_version


def test_a_champion_is_followed_back_to_everything(grown):
    promotion.promote("heart", grown.folder, approved_by="Zoë")
    [found] = explain_version("heart@champion", grown.folder).lineages
    description = read_json(grown.folder / "build" / "heart" / "fit" / "model.json")
    assert (found.name, found.aliases) == ("heart/2", ("champion",))
    assert found.fingerprint == description["fingerprint"]
    assert found.weights_sha256 == description["weights_sha256"]
    assert found.commit == grown.git("rev-parse", "HEAD~1")
    assert (found.changed, found.patch, found.since, found.uncommitted) == ((), "", (), ())
    assert found.data == {path: dvc_md5(grown.folder / path) for path in ("data/ct", "data/masks")}
    assert (found.validation["ok"], found.validation["cases"]) == (True, 14)
    split_md5 = dvc_md5(grown.folder / "build" / "split.json")
    assert found.split == {"train": 4, "tune": 2, "test": 8, "md5": split_md5}
    assert [entry.details["approved_by"] for entry in found.moves] == ["Zoë"]
    assert found.rebuild == (f"git checkout {found.commit}", "dvc pull", "dvc repro train@heart")
    assert found.missing == ()
    text = "\n".join(found.lines())
    assert "approved by Zoë: Dice of 8 patients" in text

    [before] = explain_version("heart/1", grown.folder).lineages
    assert before.aliases == ("previous",)
    assert [(item.key, item.value, item.default) for item in before.since] == [("optimiser.epochs", 1, 6)]
    assert before.uncommitted == ()
    assert "followed by heart/2, approved by Zoë" in "\n".join(before.lines())


def test_uncommitted_parameters_come_with_their_patch(small):
    path = small.folder / "params.yaml"
    raw = yaml.safe_load(path.read_text())
    raw["profiles"]["demo"]["heart"]["threshold"] = 0.4
    commit = small.git("rev-parse", "HEAD")
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    small.train("heart", epochs=2)
    small.git("reset", "-q", "--soft", commit)
    registration.register_version("heart", small.folder, allow_dirty=True)
    [found] = explain_version("models:/heart@challenger", small.folder).lineages
    assert found.commit == commit
    assert found.changed == ("params.yaml",)
    assert {item.key: (item.value, item.default) for item in found.uncommitted} == {
        "threshold": (0.4, 0.5),
        "optimiser.epochs": (2, 1),
    }
    assert found.since == ()
    assert "threshold: 0.4" in found.patch
    assert "git apply uncommitted.patch" in found.rebuild


def test_a_score_is_followed_back_to_the_versions_that_drew_it(grown, tmp_path):
    models = {
        name: read_json(grown.folder / "build" / name / "fit" / "model.json") for name in ("heart", "calcium")
    }
    write_json(tmp_path / "score.json", {"scores": {}, "models": models | {"statement": ""}})
    for target in (tmp_path / "score.json", tmp_path):
        found = explain_version(str(target), grown.folder)
        assert [lineage.name for lineage in found.lineages] == ["heart/2", "calcium/1"]
        assert found.unknown == ()
    assert str(tmp_path) not in str(found.to_json())
    models["heart"]["weights_sha256"] = "f" * 64
    write_json(tmp_path / "score.json", {"models": models})
    found = explain_version(str(tmp_path / "score.json"), grown.folder)
    assert [lineage.name for lineage in found.lineages] == ["calcium/1"]
    assert "No registered version of heart has the weights ffffffffffff" in found.unknown[0]
    models["heart"]["release"] = "0.2.0"
    write_json(tmp_path / "score.json", {"models": models})
    unknown = explain_version(str(tmp_path / "score.json"), grown.folder).unknown
    assert unknown == (
        "The heart network ffffffffffff came with Coronet 0.2.0; releases/0.2.0/heart.md and the package say "
        "what it learned from.",
    )
    write_json(tmp_path / "score.json", {"scores": {}})
    with pytest.raises(InputError, match="names no models"):
        explain_version(str(tmp_path / "score.json"), grown.folder)


@pytest.mark.parametrize("target", ["heart", "heart@", "lungs!", "heart/9", "heart@nobody"])
def test_what_is_not_there_is_named(small, target):
    with pytest.raises(InputError):
        explain_version(target, small.folder)
