"""Whether what lies in ``data/`` is what ``data.dvc`` pins, counted the way DVC counts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from coronet.errors import InputError
from coronet.fingerprint import dvc_md5


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
        name: dvc_md5(folder) == pinned[Path(folder).resolve()]
        for name, folder in folders.items()
        if Path(folder).resolve() in pinned
    }
