"""The golden volume: a small synthetic scan; the recorded output on it shows that weights are unchanged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from coronet.errors import LedgerError

if TYPE_CHECKING:
    from coronet.networks.factory import LoadedModel

GOLDEN = "golden.json"
_VOLUME = "ellipsoid-1"  # name of `golden_volume`; a change of it needs another name
_TOLERANCE = 1e-3
"""Largest difference of a probability; processors and libraries round differently, other weights do more."""
_SAMPLES = 512


def golden_volume(shape: tuple[int, int, int]) -> np.ndarray:
    """A bright ellipsoid in air with fat around it and nine dense spots in it: HU, float32, of that shape."""
    axes = [np.linspace(-1, 1, size, dtype=np.float64) for size in shape]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    radius = (x / 0.8) ** 2 + (y / 0.7) ** 2 + (z / 0.75) ** 2
    volume = np.where(radius < 1, -90.0, -1000.0)
    volume[radius < 0.6] = 45.0
    for number in range(9):
        angle = 2 * np.pi * number / 9
        centre = (0.45 * np.cos(angle), 0.4 * np.sin(angle), 0.1 * (number % 3 - 1))
        distance = sum((axis - place) ** 2 for axis, place in zip((x, y, z), centre, strict=True))
        volume[distance < 0.012] = 250.0 + 50.0 * number
    return volume.astype(np.float32)


def network_output(hu: np.ndarray, model: LoadedModel) -> np.ndarray:
    """A network's probabilities, float32, of HU on its own grid, both of shape (n, 1, x, y, z)."""
    from coronet.imaging.resampling import Grid
    from coronet.inference.predict import probabilities
    from coronet.preprocessing.network_input import NetworkInput

    spec = model.params.input
    answers = []
    for volume in np.asarray(hu, np.float32)[:, 0]:
        given = NetworkInput(volume, None, Grid(volume.shape, np.eye(4)))
        found = probabilities(model.module, given, spec, device=model.device, overlap=spec.overlap)
        answers.append(found[None])
    return np.stack(answers)


def golden_output(fit_folder: Path) -> np.ndarray:
    """Probabilities of the network in a folder on the golden volume, shape (x, y, z) of its window."""
    from coronet.networks.factory import load_model

    model = load_model(fit_folder)
    return network_output(golden_volume(model.params.input.shape)[None, None], model)[0, 0]


def golden_facts(fit_folder: Path) -> dict[str, Any]:
    """What ``golden.json`` keeps: every n-th probability of `golden_output`, and their mean."""
    answer = golden_output(fit_folder)
    return {
        "volume": _VOLUME,
        "shape": list(answer.shape),
        "tolerance": _TOLERANCE,
        "mean": round(float(answer.mean()), 7),
        "samples": [round(float(value), 7) for value in _samples(answer)],
    }


def difference(fit_folder: Path, facts: Mapping[str, Any]) -> float:
    """Largest difference between today's answer and that of ``golden.json``.

    Raises:
        LedgerError: what is stored is of another golden volume or of another window.
    """
    answer = golden_output(fit_folder)
    if facts.get("volume") != _VOLUME or facts.get("shape") != list(answer.shape):
        raise LedgerError(
            f"{GOLDEN} is of the volume {facts.get('volume')} {facts.get('shape')}, not of this."
        )
    return float(np.abs(_samples(answer) - np.asarray(facts["samples"])).max())


def _samples(answer: np.ndarray) -> np.ndarray:
    flat = answer.ravel()
    return flat[:: max(1, flat.size // _SAMPLES)]
