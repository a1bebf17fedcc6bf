"""params.yaml: both profiles are read, and every mistake is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from coronet import config
from coronet.errors import ParamsError

PARAMS = Path(__file__).resolve().parents[1] / "params.yaml"


def changed(tmp_path: Path, *keys: str, to: object) -> Path:
    """A copy of params.yaml in which the value at ``keys`` is ``to``."""
    raw = yaml.safe_load(PARAMS.read_text())
    place = raw
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = to
    copy = tmp_path / "params.yaml"
    copy.write_text(yaml.safe_dump(raw))
    return copy


@pytest.mark.parametrize("profile", ["demo", "release", "paper"])
def test_each_profile_is_read(tmp_path, profile):
    params = config.load_params(changed(tmp_path, "profile", to=profile))
    assert params.profile == profile
    assert params.model("heart").loss.dice == 0.5


def test_paper_profile_is_the_published_setting(tmp_path):
    params = config.load_params(changed(tmp_path, "profile", to="paper"))
    assert params.heart.input.shape == (128, 128, 128)
    assert params.calcium.input.shape == (48, 48, 32)
    assert params.calcium.input.spacing_mm == (0.7, 0.7, 2.5)
    assert params.calcium.threshold == 0.95
    assert params.heart.optimiser.epochs == 200
    assert params.heart.optimiser.batch_size == 2
    assert params.heart.network.activation == "selu"
    assert params.heart.augment.rotation_deg == 10.0


def test_unknown_key_names_the_nearest(tmp_path):
    path = changed(tmp_path, "profiles", "demo", "heart", "loss", "focal_gama", to=2.0)
    with pytest.raises(
        ParamsError, match='heart.loss: there is no key "focal_gama"; the nearest is "focal_gamma"'
    ):
        config.load_params(path)


def test_wrong_type_names_the_key(tmp_path):
    path = changed(tmp_path, "profiles", "demo", "heart", "optimiser", "epochs", to="many")
    with pytest.raises(ParamsError, match="heart.optimiser.epochs must be int, not 'many'"):
        config.load_params(path)


def test_boolean_is_no_number(tmp_path):
    with pytest.raises(ParamsError, match="seed must be int"):
        config.load_params(changed(tmp_path, "seed", to=True))


def test_wrong_length_is_refused(tmp_path):
    path = changed(tmp_path, "profiles", "demo", "heart", "input", "shape", to=[64, 64])
    with pytest.raises(ParamsError, match="input.shape must have 3 values, not 2"):
        config.load_params(path)


def test_missing_key_is_named(tmp_path):
    raw = yaml.safe_load(PARAMS.read_text())
    del raw["split"]["tune"]
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(raw))
    with pytest.raises(ParamsError, match='split: the key "tune" is missing'):
        config.load_params(path)


def test_unknown_profile_lists_the_known(tmp_path):
    with pytest.raises(ParamsError, match=r'profile "fast" is not among profiles \(.*demo.*paper'):
        config.load_params(changed(tmp_path, "profile", to="fast"))


def test_absent_file_says_where_to_run(tmp_path):
    with pytest.raises(ParamsError, match="run from the project's folder"):
        config.load_params(tmp_path / "params.yaml")
