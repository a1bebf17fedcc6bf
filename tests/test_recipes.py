"""Recipe versions stand in dvc.yaml, so that a raised one runs its stage again."""

from __future__ import annotations

from pathlib import Path

import yaml

from coronet.fingerprint import RECIPES, recipe_version

ROOT = Path(__file__).resolve().parents[1]
MADE_BY_COMMANDS = {"phantom", "wild", "masks"}


def test_each_stage_depends_on_its_own_recipe_and_no_other():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    recipes = yaml.safe_load(RECIPES.read_text())
    assert set(recipes) == set(stages) | MADE_BY_COMMANDS
    for name, stage in stages.items():
        named = [item for item in stage["params"] if isinstance(item, dict)]
        assert named == [{RECIPES.relative_to(ROOT).as_posix(): [name]}]
        assert not [path for path in stage.get("deps", ()) if path.startswith("src/")]


def test_versions_are_whole_numbers():
    for name, version in yaml.safe_load(RECIPES.read_text()).items():
        assert recipe_version(name) == version >= 1
