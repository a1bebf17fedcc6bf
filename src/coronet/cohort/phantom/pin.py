"""Whether what lies in ``data/`` is what ``data.dvc`` pins, counted the way DVC counts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import yaml

from coronet.errors import InputError


def folder_md5(folder: Path) -> str:
    """DVC's hash of a folder: md5 of the JSON list of its files' md5 and paths, and ``.dir``."""
    entries = []
    for file in sorted(item for item in Path(folder).rglob("*") if item.is_file()):
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        entries.append({"md5": digest, "relpath": file.relative_to(folder).as_posix()})
    text = json.dumps(sorted(entries, key=lambda entry: entry["relpath"]), sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + ".dir"


def compare_with_pin(pin: Path, folders: Mapping[str, Path]) -> dict[str, bool]:
    """Compare folders with the hashes that a ``.dvc`` file pins.

    Args:
        pin: the ``.dvc`` file; where it is absent nothing is compared.
        folders: name of each folder and where it lies.

    Returns:
        For each of the folders whose hash ``pin`` holds, whether it holds the pinned bytes.

    Raises:
        InputError: the file is no DVC file.
    """
    pin = Path(pin)
    if not pin.exists():
        return {}
    try:
        raw = yaml.safe_load(pin.read_text(encoding="utf-8"))
        pinned = {(pin.parent / out["path"]).resolve(): out["md5"] for out in raw["outs"] if "md5" in out}
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{pin} is no file of DVC: {error!r}") from error
    return {
        name: folder_md5(folder) == pinned[Path(folder).resolve()]
        for name, folder in folders.items()
        if Path(folder).resolve() in pinned
    }
