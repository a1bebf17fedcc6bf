"""Checkpoints that a kill at any moment cannot spoil.

A checkpoint is one file whose name holds the first digits of its sha256. It is written under a temporary
name, synced and renamed; a damaged one is passed over for the one before it.
"""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from coronet.errors import StageError
from coronet.files import read_json, write_bytes, write_json
from coronet.fingerprint import canonical

logger = logging.getLogger("coronet")
_KEEP = 2
_RUN = "run.json"


def claim_folder(work: Path, run: Mapping[str, Any]) -> None:
    """Bind a work folder to one run.

    Args:
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


def save_checkpoint(work: Path, number: int, state: Mapping[str, Any]) -> None:
    """Write checkpoint ``number`` and remove all but the newest `_KEEP`.

    Args:
        state: state dictionaries, tensors and plain data.
    """
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    content = buffer.getbuffer()
    write_bytes(Path(work) / f"epoch-{number:05d}-{_digest(content)}.pt", content)
    for old in _checkpoints(work)[:-_KEEP]:
        old.unlink(missing_ok=True)


def latest_checkpoint(work: Path) -> dict[str, Any] | None:
    """State of the newest checkpoint that is intact, its tensors on the CPU; None where there is none."""
    for path in reversed(_checkpoints(work)):
        content = path.read_bytes()
        if path.stem.endswith(f"-{_digest(content)}"):
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        logger.info("%s is damaged; the checkpoint before it is used", path)
    return None


def latest_history(work: Path) -> list[dict[str, float]]:
    """What the epochs up to the newest checkpoint measured; none where there is none."""
    state = latest_checkpoint(work)
    return state["history"] if state else []


def _digest(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _checkpoints(work: Path) -> list[Path]:
    return sorted(Path(work).glob("epoch-*.pt"))
