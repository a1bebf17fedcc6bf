"""The key that joins a stage's result, its checkpoints and its MLflow run."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coronet.files import content_files, md5_file, sha256_file

RECIPES = Path(__file__).with_name("recipes.yaml")  # version of what each stage computes


@functools.cache
def recipe_version(stage: str) -> int:
    """Version of what ``stage`` computes, as ``recipes.yaml`` gives it; raised when results change."""
    import yaml

    return int(yaml.safe_load(RECIPES.read_text(encoding="utf-8"))[stage])


def canonical(value: Any) -> Any:
    """Plain JSON data out of dataclasses, paths and tuples, independent of key order."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return canonical(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(key): canonical(item) for key, item in sorted(value.items())}
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    if isinstance(value, Path):
        return value.as_posix()
    return value


def hash_tree(path: Path) -> str:
    """Hash a file, or a folder by the names and bytes of all its files, leftovers and system files aside."""
    path = Path(path)
    if path.is_file():
        return sha256_file(path)
    digest = hashlib.sha256()
    for file in content_files(path):
        digest.update(f"{file.relative_to(path).as_posix()} {sha256_file(file)}\n".encode())
    return digest.hexdigest()


def dvc_md5(path: Path) -> str:
    """DVC's hash of a file or folder, as it stands in ``dvc.lock``; empty where there is neither.

    Of a file it is the md5 of the bytes; of a folder that of the JSON list of all files' names and md5, in
    the order of the names as text, with ``.dir`` at its end.
    """
    path = Path(path)
    if path.is_file():
        return md5_file(path)
    if not path.is_dir():
        return ""
    names = sorted(item.relative_to(path).as_posix() for item in content_files(path))
    text = json.dumps([{"md5": md5_file(path / name), "relpath": name} for name in names])
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + ".dir"


def fingerprint(stage: str, *, params: Any, inputs: Mapping[str, str], recipe: str | None = None) -> str:
    """sha256 over stage, resolved parameters, input hashes and recipe version.

    Args:
        stage: name of the stage, such as ``train@heart``.
        params: the dataclass or mapping the stage reads.
        inputs: name of each input and the hash of its bytes.
        recipe: entry of ``recipes.yaml``; by default the stage's name without its model.
    """
    content = {
        "stage": stage,
        "params": canonical(params),
        "inputs": canonical(inputs),
        "recipe": recipe_version(recipe or stage.partition("@")[0]),
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
