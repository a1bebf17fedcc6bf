"""Checkpoints that a kill at any moment cannot spoil.

A checkpoint is a safetensors file and a JSON file that names its sha256 and holds the rest of the state. The
JSON is written last, both atomically; a pair that is not whole is passed over for the one before it.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from coronet.errors import InputError, StageError
from coronet.files import read_json, replacing, sha256_file, write_json
from coronet.fingerprint import canonical

logger = logging.getLogger("coronet")
_KEEP = 2
_RUN = "run.json"


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """Tensors by name, and everything else as plain JSON data."""

    tensors: Mapping[str, torch.Tensor]
    state: Mapping[str, Any]


def claim_folder(work: Path, run: Mapping[str, Any]) -> None:
    """Bind a work folder to one run.

    Args:
        work: where checkpoints go.
        run: everything that decides the result.

    Raises:
        StageError: the folder holds checkpoints of another run; names the first key that differs.
    """
    path = Path(work) / _RUN
    wanted = _flat(canonical(run))
    if path.exists():
        present = _flat(read_json(path))
        differing = sorted(
            key for key in wanted.keys() | present.keys() if wanted.get(key) != present.get(key)
        )
        if differing:
            key = differing[0]
            raise StageError(
                f"{work} holds checkpoints of another run: {key} is {present.get(key)!r} there and "
                f"{wanted.get(key)!r} here; give another work folder, or remove that one."
            )
        return
    write_json(path, canonical(run))


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    return {
        key: item
        for name, child in value.items()
        for key, item in _flat(child, f"{prefix}.{name}" if prefix else name).items()
    }


def save_checkpoint(work: Path, number: int, checkpoint: Checkpoint) -> None:
    """Write checkpoint ``number`` and remove all but the newest `_KEEP`."""
    from safetensors.torch import save_file

    work = Path(work)
    tensors, record = _paths(work, number)
    with replacing(tensors) as part:
        save_file(
            {name: value.detach().cpu().contiguous() for name, value in checkpoint.tensors.items()}, part
        )
    write_json(record, {"sha256": sha256_file(tensors), "state": dict(checkpoint.state)})
    for old in _numbers(work)[:-_KEEP]:
        for path in reversed(_paths(work, old)):
            path.unlink(missing_ok=True)


def latest_checkpoint(work: Path) -> Checkpoint | None:
    """The newest checkpoint that is whole, or None."""
    from safetensors.torch import load_file

    for number in reversed(_numbers(Path(work))):
        tensors, record = _paths(Path(work), number)
        try:
            content = read_json(record)
            whole = tensors.exists() and sha256_file(tensors) == content["sha256"]
        except (InputError, KeyError):
            whole = False
        if whole:
            return Checkpoint(load_file(tensors), content["state"])
        logger.info("checkpoint %d is not whole; going back to the one before it", number)
    return None


def _numbers(work: Path) -> list[int]:
    return sorted(int(path.stem.removeprefix("epoch-")) for path in work.glob("epoch-*.json"))


def _paths(work: Path, number: int) -> tuple[Path, Path]:
    return work / f"epoch-{number:05d}.safetensors", work / f"epoch-{number:05d}.json"
