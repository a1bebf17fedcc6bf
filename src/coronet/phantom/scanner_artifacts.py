"""What a scanner adds to the patient: the table, and streaks around metal."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from coronet.phantom.acquisition_protocols import ScanSettings
from coronet.phantom.deposits import Deposit
from coronet.phantom.random_draws import between, turn

_AIR_HU = -1000.0
_STRIDE = 8  # every how many voxels the patient's back is searched
_METAL_HU = 2500.0  # substances from here on throw streaks; calcium stays below
_REACH_MM = 65.0
_RAYS = 7
_APART_MM = 6.0  # nearer pieces of metal share one star


def draw_table(rng: np.random.Generator, hu: np.ndarray, settings: ScanSettings) -> np.ndarray | None:
    """A curved shell filled with foam: HU in any slice, (y, x) float32; None where it is out of view.

    Args:
        hu: (x, y, z) tissue; the table lies below all of it.
    """
    gap, sag = between(rng, 6.0, 30.0), between(rng, 10.0, 45.0)
    shell, skin_hu = between(rng, 1.5, 3.0), between(rng, -250.0, 250.0)
    foam_hu = between(rng, -960.0, -860.0)
    thick, half = between(rng, 25.0, 60.0), between(rng, 195.0, 225.0)
    rows = np.flatnonzero((hu[::_STRIDE, :, ::_STRIDE] > -500).any(axis=(0, 2)))
    if rows.size == 0 or rows[0] == 0:
        return None
    x = np.arange(settings.shape[0]) * settings.spacing_mm[0] + settings.origin_mm[0]
    y = np.arange(settings.shape[1]) * settings.spacing_mm[1]
    top = float(y[rows[0]]) - gap + sag * (x * x) / (half * half) - sag
    depth = top - y[:, None]
    inside = (depth >= 0) & (depth <= thick) & (np.abs(x) <= half)
    rim = inside & ((depth <= shell) | (depth >= thick - shell) | (np.abs(x) >= half - shell))
    plane = np.where(rim, skin_hu, np.where(inside, foam_hu, _AIR_HU))
    return plane.astype(np.float32) if inside.any() else None


def is_metal(deposit: Deposit) -> bool:
    """Whether a deposit throws streaks."""
    return float(deposit.hu[0]) >= _METAL_HU


def add_stars(
    plane: np.ndarray, deposits: Sequence[Deposit], settings: ScanSettings, k: int, rng: np.random.Generator
) -> None:
    """Add to slice ``k``, (y, x) float32, a star of bright and dark rays around all metal that it cuts."""
    height = settings.origin_mm[2] + k * settings.spacing_mm[2]
    for deposit in deposits:
        starred: list[tuple[float, float]] = []
        for (x, y, z), radius in zip(deposit.centres_mm, deposit.radii_mm, strict=True):
            if abs(z - height) > settings.thickness_mm / 2 + radius:
                continue
            if all((x - a) ** 2 + (y - b) ** 2 > _APART_MM**2 for a, b in starred):
                starred.append((float(x), float(y)))
                _add_star(plane, (float(x), float(y)), float(radius), settings, rng)


def _add_star(
    plane: np.ndarray,
    centre_mm: tuple[float, float],
    radius_mm: float,
    settings: ScanSettings,
    rng: np.random.Generator,
) -> None:
    window, offsets = [], []
    for axis in range(2):
        step, origin = settings.spacing_mm[axis], settings.origin_mm[axis]
        first = max(math.floor((centre_mm[axis] - _REACH_MM - origin) / step), 0)
        last = min(math.ceil((centre_mm[axis] + _REACH_MM - origin) / step), settings.shape[axis])
        if first >= last:
            return
        window.append(slice(first, last))
        offsets.append((np.arange(first, last) * step + origin - centre_mm[axis]).astype(np.float32))
    x, y = offsets[0], offsets[1][:, None]
    base = between(rng, 0.0, 180.0)
    for ray in range(_RAYS):
        angle = base + ray * 180.0 / _RAYS + between(rng, -8.0, 8.0)
        cos, sin = (np.float32(value) for value in turn(angle))
        strength = between(rng, 60.0, 170.0) * min(radius_mm, 1.6) * (1 if ray % 2 else -1)
        along = np.abs(x * cos + y * sin)
        across = np.abs(y * cos - x * sin)
        width = along * np.float32(0.035) + np.float32(0.9)
        profile = np.maximum(np.float32(1) - across / width, np.float32(0))
        fade = np.maximum(np.float32(1) - along * np.float32(1 / _REACH_MM), np.float32(0))
        profile *= fade * np.float32(strength) * np.float32(9.0) / (along + np.float32(9.0))
        plane[window[1], window[0]] += profile
