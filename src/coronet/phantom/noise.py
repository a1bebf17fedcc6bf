"""Noise of a low-dose scan: grain of the kernel, stronger and streaky where rays cross much tissue.

The variance that horizontal and vertical rays bring to a pixel grows with exp(μ · path) (attenuation law);
the two path lengths stand for all directions. Horizontal rays bring horizontal streaks, as across shoulders.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from coronet.imaging.filters import along_rows, fixed_power, gaussian_taps, in_plane
from coronet.phantom.random_draws import between, chance

_WATER_PER_MM = 0.019  # attenuation of water at the mean energy of 120 kV, 1/mm
STEP = 4
"""Every how many voxels path lengths are taken."""
_STREAK = 32  # length, in voxels, over which a streak keeps its sign
_FIELDS = 6  # how many fields of streaks of each sort a scan draws
_AWAY = 0.85  # how much of the coarse part of the grain is taken away
_STREAKY = 0.15  # share of the variance that streaks have everywhere
BYTE_SD = math.sqrt((256**2 - 1) / 12)


@dataclasses.dataclass(frozen=True)
class Grain:
    """Filters that turn white noise into a kernel's texture, a band-pass with no power at rest."""

    fine: tuple[float, ...]  # half taps of the narrow Gaussian
    coarse: tuple[float, ...]  # half taps of the further blur of which `_AWAY` is taken away
    scale: float  # factor that makes the standard deviation 1 for bytes as white noise


def grain(grain_mm: float, pixel_mm: float) -> Grain:
    """The texture of a kernel whose finest structure has standard deviation ``grain_mm``."""
    fine = gaussian_taps(grain_mm / pixel_mm, reach=2.0)
    coarse = gaussian_taps(0.75 / pixel_mm, reach=1.6)
    both = _chain(fine, coarse)
    size = len(both) - 1
    wide = [0.0] * (size + 1)
    wide[: len(fine)] = fine
    narrow_1d, both_1d = _whole(wide), _whole(both)
    total = math.fsum(
        (a * b - _AWAY * c * d) ** 2
        for a, c in zip(narrow_1d, both_1d, strict=True)
        for b, d in zip(narrow_1d, both_1d, strict=True)
    )
    return Grain(fine, coarse, round(1 / (math.sqrt(total) * BYTE_SD), 9))


def _whole(half: list[float] | tuple[float, ...]) -> list[float]:
    return [*reversed(half[1:]), *half]


def _chain(first: tuple[float, ...], second: tuple[float, ...]) -> tuple[float, ...]:
    a, b = _whole(first), _whole(second)
    size = len(a) + len(b) - 1
    full = [0.0] * size
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            full[i + j] += x * y
    return tuple(full[size // 2 :])


def white(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Independent values of mean 0 and standard deviation `BYTE_SD`, float32."""
    count = shape[0] * shape[1]
    values = rng.integers(0, 256, size=count, dtype=np.uint8).reshape(shape)
    return values.astype(np.float32) - np.float32(127.5)


def textured(field: np.ndarray, texture: Grain) -> np.ndarray:
    """White noise of `white` turned into grain of standard deviation 1."""
    fine = in_plane(field, texture.fine)
    coarse = in_plane(fine, texture.coarse)
    coarse *= np.float32(_AWAY)
    fine -= coarse
    fine *= np.float32(texture.scale)
    return fine


@dataclasses.dataclass(frozen=True)
class Streaks:
    """Fields of streaks to cut slices' streaks from, each larger than a slice, long along the second axis."""

    straight: tuple[np.ndarray, ...]  # fields whose streaks run along the axis, as across shoulders
    tilted: tuple[np.ndarray, ...]  # fields whose streaks come from any side


def draw_streaks(rng: np.random.Generator, size: int, fine: tuple[float, ...]) -> Streaks:
    """Fields for slices of up to ``size`` voxels; ``fine`` are the half taps of the kernel's grain."""
    edge = size + size // 4
    return Streaks(
        tuple(_streak_field(rng, edge, between(rng, -0.06, 0.06), fine) for _ in range(_FIELDS)),
        tuple(_streak_field(rng, edge, between(rng, -0.7, 0.7), fine) for _ in range(_FIELDS)),
    )


def _streak_field(rng: np.random.Generator, edge: int, tilt: float, fine: tuple[float, ...]) -> np.ndarray:
    """Noise of standard deviation near 1 that climbs ``tilt`` rows per column."""
    knots = edge // _STREAK + 2
    taps = _chain((0.5, -0.25), fine)
    coarse = along_rows(white(rng, (edge, knots)), taps)
    coarse *= np.float32(1 / (math.sqrt(fixed_power(taps)) * BYTE_SD * 0.82))
    long = np.empty((edge, (knots - 1) * _STREAK), np.float32)
    slope = coarse[:, 1:] - coarse[:, :-1]
    for i in range(_STREAK):
        long[:, i::_STREAK] = coarse[:, :-1] + slope * np.float32(i / _STREAK)
    climb = np.arange(edge) * tilt
    whole = np.floor(climb).astype(np.int64)
    part = (climb - whole).astype(np.float32)
    rows, columns = np.arange(edge)[:, None], np.arange(edge)
    lower = long[(rows + whole) % edge, columns]
    return lower + (long[(rows + whole + 1) % edge, columns] - lower) * part


def _cut(rng: np.random.Generator, fields: tuple[np.ndarray, ...], rows: int, columns: int) -> np.ndarray:
    """A piece of one of the fields, turned about at random."""
    field = fields[int(rng.integers(len(fields)))]
    y, x = (int(rng.integers(len(field) - size + 1)) for size in (rows, columns))
    piece = field[y : y + rows, x : x + columns]
    return piece[:: -1 if chance(rng, 0.5) else 1, :: -1 if chance(rng, 0.5) else 1]


@dataclasses.dataclass(frozen=True)
class Paths:
    """Water-equivalent path lengths in mm through each slice."""

    across: list[list[float]]  # (z, rows) of the horizontal ray through each row
    along: list[list[float]]  # (z, columns) of the vertical ray through each column


def path_lengths(hu: np.ndarray, pixel_mm: float) -> Paths:
    """Sum tissue over rays, on a subset of the voxels.

    Args:
        hu: (x, y, z) HU without noise.
        pixel_mm: in-plane spacing.
    """
    across, along = [], []
    for k in range(hu.shape[2]):
        plane = hu[::STEP, ::STEP, k]
        density = np.minimum(np.maximum(np.rint(plane), -1000), 1500).astype(np.int64) + 1000
        scale = pixel_mm * STEP / 1000
        across.append([int(v) * scale for v in density.sum(axis=0)])
        along.append([int(v) * scale for v in density.sum(axis=1)])
    return Paths(across, along)


def relative_variance(paths: list[float], *, reference_mm: float, modulation: float, size: int) -> np.ndarray:
    """Variance relative to the reference path, along one axis of one slice, float32 (size,).

    Args:
        paths: path lengths on every `STEP`-th row or column.
        reference_mm: path length through the heart, where the variance is 1.
        modulation: 0 for a fixed tube current, 1 for one that evens out all noise.
        size: rows or columns of the slice.
    """
    strength = _WATER_PER_MM * (1 - modulation)
    values = [round(math.exp(min(max(strength * (path - reference_mm), -2.0), 2.6)), 6) for path in paths]
    steps = np.repeat(np.asarray(values, np.float32), STEP)[:size, None]
    return along_rows(steps, gaussian_taps(2.0 * STEP, reach=2.0))[:, 0]


def slice_noise(
    field: np.ndarray, across: np.ndarray, along: np.ndarray, streaks: Streaks, rng: np.random.Generator
) -> np.ndarray:
    """Noise of one slice, of standard deviation 1 where both variances are 1.

    Args:
        field: grain of standard deviation 1, (y, x).
        across: (y,) relative variance that horizontal rays bring.
        along: (x,) relative variance that vertical rays bring.
        streaks: fields to cut streaks from.
    """
    noise = np.sqrt((across[:, None] + along) * np.float32((1 - _STREAKY) / 2))
    noise *= field
    rows, columns = field.shape
    for level, horizontal in ((across, True), (along, False)):
        excess = np.maximum(level - np.float32(1.2), np.float32(0))
        strength = np.sqrt(level * np.float32(_STREAKY / 2) + excess * np.float32(0.25))
        # Where long paths make the streaks they follow the path; elsewhere they come from any side.
        fields = streaks.straight if float(excess.max()) > 1.0 else streaks.tilted
        if horizontal:
            noise += _cut(rng, fields, rows, columns) * strength[:, None]
        else:
            noise += _cut(rng, fields, columns, rows).T * strength
    return noise
