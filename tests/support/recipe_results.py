"""Few figures of small results, stored with the recipe version that gave them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from coronet.fingerprint import recipe_version

STORED = Path(__file__).with_name("recipe_results.json")


def check_recipe(stage: str, figures: Sequence[float]) -> None:
    """Fail where a stage gives other figures than those stored, or its version has been raised since."""
    stored = json.loads(STORED.read_text())
    present = {"version": recipe_version(stage), "figures": [float(f"{figure:.6g}") for figure in figures]}
    wanted = stored.get(stage, {})
    if wanted.get("version") == present["version"] and wanted["figures"] == pytest.approx(
        present["figures"], rel=2e-3
    ):
        return
    pytest.fail(
        f"The results of {stage} are not those stored for recipe version {wanted.get('version')}. If they "
        f"changed on purpose, raise `{stage}` in src/coronet/recipes.yaml.\nStore in {STORED.name}: "
        f"{json.dumps({stage: present})}"
    )
