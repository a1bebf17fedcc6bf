"""A release of networks: its recipe, its backgrounds, and what it leaves in package and record."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from coronet.config import MODELS, parse_params
from coronet.errors import CoronetError, InputError, ParamsError, StageError
from coronet.files import read_json, sha256_file, write_json
from coronet.io.content_hash import content_sha256
from coronet.io.reader import read_scan
from coronet.io.volume import write_nifti
from coronet.networks.factory import load_model
from coronet.real_backgrounds.backgrounds import find_backgrounds

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "releases" / "recipe.yaml"


@pytest.fixture
def flows(monkeypatch):
    """The modules of `flows/` as importable ones."""
    monkeypatch.syspath_prepend(str(ROOT / "flows"))


def test_the_recipe_fits_the_parameters(flows):
    from release_recipe import read_recipe

    recipe = read_recipe(RECIPE)
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    params = parse_params(recipe.params_text(text).encode())
    assert params.profile == recipe.params["profile"]
    assert params.split.test == recipe.params["split.test"]
    assert len({item.seed for item in recipe.phantoms}) == len(recipe.phantoms)
    with pytest.raises(ParamsError, match="missing"):
        dataclasses.replace(recipe, params={"split.tset": 0.1}).params_text(text)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("version:", "edition:"),
        ("cases: 160", "cases: 0"),
        ("licence:", "license:"),
        ("phantoms:", "x: ["),
    ],
)
def test_a_faulty_recipe_is_refused(before, after, flows, tmp_path):
    from release_recipe import read_recipe

    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.read_text(encoding="utf-8").replace(before, after), encoding="utf-8")
    with pytest.raises(CoronetError, match="recipe.yaml"):
        read_recipe(path)


def test_only_the_scans_of_the_recipe_are_taken(flows, make_chest, tmp_path):
    from release_recipe import copy_backgrounds, read_recipe

    folder, to = tmp_path / "scans", tmp_path / "data" / "backgrounds"
    chest = make_chest()
    write_nifti(folder / "scan.nii.gz", chest.ct)
    write_nifti(folder / "heart.nii.gz", chest.ct.with_array(chest.heart.astype(np.uint8)))
    recipe = read_recipe(RECIPE)
    first = next(iter(recipe.sources.values()))
    facts = dataclasses.replace(first.facts, scan="scan.nii.gz", heart="heart.nii.gz")
    source = dataclasses.replace(
        first,
        facts=facts,
        scan_sha256=content_sha256(read_scan(folder / "scan.nii.gz").volume),
        heart_sha256=sha256_file(folder / "heart.nii.gz"),
    )
    for fault in ({"scan_sha256": "0" * 64}, {"heart_sha256": "0" * 64}):
        wrong = dataclasses.replace(recipe, sources={"one": dataclasses.replace(source, **fault)})
        with pytest.raises(InputError, match="is not what the recipe's background one was"):
            copy_backgrounds(wrong, folder, to)
    with pytest.raises(InputError, match="is absent"):
        copy_backgrounds(recipe, folder, to)
    assert not to.exists()
    copy_backgrounds(dataclasses.replace(recipe, sources={"one": source}), folder, to)
    [found] = find_backgrounds(to)
    assert (found.name, found.facts) == ("one", facts)


def test_the_last_step_fills_package_and_record_from_any_project(flows, tiny, tmp_path):
    from release_record import publish

    out = tmp_path / "checkout"
    record = publish(tiny, out, version="1.2.3", recipe=RECIPE)
    assert record == out / "releases" / "1.2.3"
    names = {path.name for path in record.iterdir()}
    assert names >= {"README.md", "recipe.yaml", "params.yaml", "dvc.lock", "heart.md", "calcium.md"}
    assert (record / "figures" / "heart" / "history.csv").exists()
    readme = (record / "README.md").read_text(encoding="utf-8")
    for model in MODELS:
        loaded = load_model(out / "src" / "coronet" / "weights" / model)
        assert loaded.spec.release == "1.2.3" and loaded.sha256 in readme
    path = tiny / "build" / "heart" / "evaluation" / "metrics.json"
    write_json(path, read_json(path) | {"weights_sha256": {"heart": "0" * 64}})
    with pytest.raises(StageError, match="another heart network"):
        publish(tiny, out, version="1.2.4", recipe=RECIPE)
    assert not (out / "releases" / "1.2.4").exists()
