"""A fingerprint changes with what matters and with nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from coronet.config import LossParams
from coronet.fingerprint import dvc_md5, fingerprint, hash_tree


def key(**changes):
    given = {"params": {"a": 1, "b": (1, 2)}, "inputs": {"data": "00"}, **changes}
    return fingerprint("train@heart", **given)


def test_key_order_and_sequence_type_do_not_matter():
    assert key() == key(params={"b": [1, 2], "a": 1})


def test_parameters_inputs_and_recipe_matter():
    keys = {key(), key(params={"a": 2, "b": (1, 2)}), key(inputs={"data": "01"})}
    assert len(keys) == 3


def test_a_raised_recipe_changes_the_key(monkeypatch):
    before = key(), key(recipe="pretrain")
    monkeypatch.setattr("coronet.fingerprint.recipe_version", lambda stage: 7 if stage == "train" else 1)
    assert key() != before[0]
    assert key(recipe="pretrain") == before[1]


def test_dataclass_equals_its_fields():
    loss = LossParams(dice=0.5, focal=0.5, focal_gamma=2.0, focal_alpha=0.25)
    assert key(params=loss) == key(
        params={"dice": 0.5, "focal": 0.5, "focal_gamma": 2.0, "focal_alpha": 0.25}
    )


def test_tree_hash_sees_names_and_bytes(tmp_path):
    (tmp_path / "a").write_text("x")
    first = hash_tree(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    second = hash_tree(tmp_path)
    (tmp_path / "b").write_text("y")
    assert len({first, second, hash_tree(tmp_path)}) == 3


def test_files_and_folders_are_hashed_as_dvc_does(tmp_path):
    folder = tmp_path / "folder"
    # «/» sorts behind «-» and «.», a folder's name by itself before both
    for name in ("a/b", "a-b", "a.c", "a/b-c/d", "é/ü", ".hidden"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    for name in (".part-x1.nii.gz", "a/._b", ".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX/b"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("left by a kill or a file manager")
    shutil.copy(Path(__file__).parents[1] / ".dvcignore", tmp_path)
    (folder / "empty").mkdir()
    (tmp_path / "file").write_text("x\n")
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    add = [sys.executable, "-m", "dvc", "add", "-q", "folder", "file"]
    subprocess.run(
        add, cwd=tmp_path, check=True, capture_output=True, env=os.environ | {"DVC_NO_ANALYTICS": "1"}
    )
    for name in ("folder", "file"):
        (out,) = yaml.safe_load((tmp_path / f"{name}.dvc").read_text())["outs"]
        assert dvc_md5(tmp_path / name) == out["md5"]
    assert dvc_md5(tmp_path / "absent") == ""
