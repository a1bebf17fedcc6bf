"""Coarse scans with heart masks for transfer experiments: quick, and varied far beyond what scanners do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from coronet.imaging.filters import along_axis, gaussian_taps, in_plane
from coronet.io.volume import Volume, grid_affine, triple
from coronet.phantom.noise import BYTE_SD
from coronet.phantom.random_draws import between, chance, generator, pick

if TYPE_CHECKING:
    from coronet.phantom.ranges import Ranges

_PAIRS = 10
"""Purpose of the generator; those of a cohort are lower."""


def draw_heart_pair(
    seed: int,
    index: int,
    *,
    spacing_mm: tuple[float, float, float],
    shape: tuple[int, int, int],
    ranges: Ranges | None = None,
) -> tuple[Volume, np.ndarray]:
    """Draw a coarse scan and its heart mask.

    Blur, noise, contrast, calibration, field of view and padding vary far beyond what scanners do, so that a
    network cannot lean on any of them.

    Args:
        ranges: of the anatomy; the wild ones where None.

    Returns:
        HU as a float32 volume (padding included) and the heart as bool, both (x, y, z).
    """
    from coronet.phantom.anatomy import draw_anatomy
    from coronet.phantom.ranges import WILD
    from coronet.phantom.rasterize import rasterize

    rng = generator(seed, index, _PAIRS)
    anatomy = draw_anatomy(rng, ranges=ranges or WILD)
    centre = anatomy.landmarks["heart_centre"]
    reach = [step * (size - 1) / 2 for step, size in zip(spacing_mm, shape, strict=True)]
    room = [max(min(half - 80.0, limit), 0.0) for half, limit in zip(reach, (45.0, 60.0, 80.0), strict=True)]
    origin = triple(
        float(c) - half + between(rng, -free, free) for c, half, free in zip(centre, reach, room, strict=True)
    )
    tissue = rasterize(anatomy, grid_affine(spacing_mm, origin), shape)
    hu = _blurred(rng, np.asarray(tissue.hu, np.float32))
    hu = _recalibrated(rng, hu)
    hu += _grain(rng, shape)
    heart = tissue.heart.astype(bool)
    _pad(rng, hu, heart)
    return Volume(hu, grid_affine(spacing_mm, origin)), heart


def _blurred(rng: np.random.Generator, hu: np.ndarray) -> np.ndarray:
    flat = in_plane(hu, gaussian_taps(between(rng, 0.0, 0.9)))
    along_z = np.ascontiguousarray(np.moveaxis(flat, 2, 0))
    return np.moveaxis(along_axis(along_z, gaussian_taps(between(rng, 0.0, 1.6))), 0, 2)


def _recalibrated(rng: np.random.Generator, hu: np.ndarray) -> np.ndarray:
    """Stretch soft tissue about 0 HU, shift everything, and add a slope across the scan."""
    stretch = np.float32(between(rng, 0.6, 1.5))
    soft = np.minimum(np.maximum(hu, np.float32(-200)), np.float32(200))
    out = hu + soft * (stretch - np.float32(1)) + np.float32(between(rng, -40.0, 40.0))
    for axis, size in enumerate(hu.shape):
        line = (np.arange(size) / size - 0.5) * between(rng, -50.0, 50.0)
        out += line.astype(np.float32).reshape([-1 if i == axis else 1 for i in range(3)])
    return out


def _grain(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Noise of any strength and coarseness, with streaks in some."""
    field = rng.integers(0, 256, size=shape, dtype=np.uint8).astype(np.float32) - np.float32(127.5)
    taps = gaussian_taps(between(rng, 0.0, 1.0))
    strength = between(rng, 0.0, 1.0) * between(rng, 0.0, 140.0)
    spread = taps[0] ** 2 + 2 * sum(tap * tap for tap in taps[1:])
    noise = in_plane(field, taps) * np.float32(strength / (spread * BYTE_SD))
    if chance(rng, 0.3):
        rows = rng.integers(0, 256, size=(1, *shape[1:]), dtype=np.uint8).astype(np.float32)
        noise += (rows - np.float32(127.5)) * np.float32(between(rng, 0.0, 0.4))
    return noise


def _pad(rng: np.random.Generator, hu: np.ndarray, heart: np.ndarray) -> None:
    """Cut the field of view to a circle, a box or fewer slices, in place; the heart is cut with it."""
    value = np.float32(pick(rng, (-1024.0, -1000.0, -2048.0, -3024.0, 0.0), (5, 2, 1, 2, 2)))
    if chance(rng, 0.35):
        radius = between(rng, 0.8, 1.1) * min(hu.shape[:2]) / 2
        x, y = (np.arange(size) - (size - 1) / 2 for size in hu.shape[:2])
        _blank(hu, heart, (x * x)[:, None] + y * y > radius * radius, value)
    for axis, most in ((0, 0.1), (1, 0.1), (2, 0.16)):
        if not chance(rng, 0.35):
            continue
        size = hu.shape[axis]
        first, last = (round(between(rng, 0.0, most) * size) for _ in range(2))
        line = np.ones(size, bool)
        line[first : size - last] = False
        _blank(hu, heart, line.reshape([-1 if i == axis else 1 for i in range(3)]), value)


def _blank(hu: np.ndarray, heart: np.ndarray, where: np.ndarray, value: np.float32) -> None:
    spread = np.broadcast_to(where if where.ndim == 3 else where[:, :, None], hu.shape)
    hu[spread] = value
    heart[spread] = False
