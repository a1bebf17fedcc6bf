"""Noise of a low-dose scan: grain of the kernel, stronger and streaky where rays cross much tissue.

The variance that horizontal and vertical rays bring to a pixel grows with exp(μ · path) (attenuation law);
the two path lengths stand for all directions. Horizontal rays bring horizontal streaks, as across shoulders.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from coronet.imaging.filters import along_axis, fixed_power, gaussian_taps, in_plane
from coronet.phantom.acquisition_protocols import ScanSettings
from coronet.phantom.random_draws import between, chance

_WATER_PER_MM = 0.019  # attenuation of water at the mean energy of 120 kV, 1/mm
_STEP = 4  # every how many voxels path lengths are taken
_STREAK = 32  # length, in voxels, over which a streak keeps its sign
_FIELDS = 6  # how many fields of streaks of each sort a scan draws
_AWAY = 0.85  # how much of the coarse part of the grain is taken away
_STREAKY = 0.15  # share of the variance that streaks have everywhere
_BLOTCHY = 1.2  # how much coarser the grain of the strongest iterative reconstruction is
BYTE_SD = math.sqrt((256**2 - 1) / 12)


@dataclasses.dataclass(frozen=True)
class _Grain:
    """Filters that turn white noise into a kernel's texture, a band-pass with no power at rest."""

    fine: tuple[float, ...]  # half taps of the narrow Gaussian
    coarse: tuple[float, ...]  # half taps of the further blur of which `_AWAY` is taken away
    scale: float  # factor that makes the standard deviation 1 for bytes as white noise


def _grain(grain_mm: float, pixel_mm: float) -> _Grain:
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
    return _Grain(fine, coarse, round(1 / (math.sqrt(total) * BYTE_SD), 9))


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


def _white(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Independent values of mean 0 and standard deviation `BYTE_SD`, float32."""
    count = shape[0] * shape[1]
    values = rng.integers(0, 256, size=count, dtype=np.uint8).reshape(shape)
    return values.astype(np.float32) - np.float32(127.5)


def _textured(field: np.ndarray, texture: _Grain) -> np.ndarray:
    """White noise of `_white` turned into grain of standard deviation 1."""
    fine = in_plane(field, texture.fine)
    coarse = in_plane(fine, texture.coarse)
    coarse *= np.float32(_AWAY)
    fine -= coarse
    fine *= np.float32(texture.scale)
    return fine


def _streak_field(rng: np.random.Generator, edge: int, tilt: float, fine: tuple[float, ...]) -> np.ndarray:
    """Noise of standard deviation near 1 that climbs ``tilt`` rows per column."""
    knots = edge // _STREAK + 2
    taps = _chain((0.5, -0.25), fine)
    coarse = along_axis(_white(rng, (edge, knots)), taps)
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


def _cut(rng: np.random.Generator, fields: list[np.ndarray], rows: int, columns: int) -> np.ndarray:
    """A piece of one of the fields, flipped at random."""
    field = fields[int(rng.integers(len(fields)))]
    y, x = (int(rng.integers(len(field) - size + 1)) for size in (rows, columns))
    piece = field[y : y + rows, x : x + columns]
    return piece[:: -1 if chance(rng, 0.5) else 1, :: -1 if chance(rng, 0.5) else 1]


def _path_lengths(hu: np.ndarray, pixel_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Water-equivalent path lengths in mm, on a subset of the voxels.

    Args:
        hu: (x, y, z) HU without noise.
        pixel_mm: in-plane spacing.

    Returns:
        Of the horizontal ray through every `_STEP`-th row (z, rows), and of the vertical one through every
        `_STEP`-th column (z, columns).
    """
    across, along = [], []
    for k in range(hu.shape[2]):
        plane = hu[::_STEP, ::_STEP, k]
        density = np.minimum(np.maximum(np.rint(plane), -1000), 1500).astype(np.int64) + 1000
        across.append(density.sum(axis=0))
        along.append(density.sum(axis=1))
    scale = pixel_mm * _STEP / 1000
    return np.asarray(across) * scale, np.asarray(along) * scale


def _mean_path(paths: np.ndarray, slices: slice, side: slice) -> float:
    """Mean of the path lengths (z, rows or columns) through a part of a scan, summed in a fixed order."""
    first = side.start // _STEP
    values = paths[slices, first : max(side.stop // _STEP, first + 1)]
    return float(np.cumsum(values)[-1]) / values.size


class ScanNoise:
    """The noise of one scan, to be asked for slice by slice: neighbouring slices share a part of theirs."""

    def __init__(
        self,
        rng: np.random.Generator,
        hu: np.ndarray,
        settings: ScanSettings,
        *,
        heart_box: tuple[slice, slice, slice],
    ) -> None:
        """Measure path lengths and draw fields to cut slices' streaks from.

        Args:
            hu: (x, y, z) HU without noise.
            heart_box: where the heart lies; noise has the asked strength there.
        """
        pixel, (columns, rows, _) = settings.spacing_mm[0], settings.shape
        self._rng, self._settings = rng, settings
        # iterative reconstructions leave coarse, blotchy noise
        self._texture = _grain(settings.kernel.grain_mm * (1.0 + _BLOTCHY * settings.iterative), pixel)
        across, along = _path_lengths(hu, pixel)
        self._rays = (
            (across, _mean_path(across, heart_box[2], heart_box[1]), rows),
            (along, _mean_path(along, heart_box[2], heart_box[0]), columns),
        )
        edge = max(columns, rows) + max(columns, rows) // 4
        # fields whose streaks run along the second axis, as across shoulders, or come from any side
        self._straight, self._tilted = (
            [_streak_field(rng, edge, between(rng, -tilt, tilt), self._texture.fine) for _ in range(_FIELDS)]
            for tilt in (0.06, 0.7)
        )

    def start(self) -> None:
        """Draw the white noise that the first slice shares."""
        self._before = _white(self._rng, self._settings.shape[1::-1])

    def next_slice(self, k: int) -> np.ndarray:
        """Noise of slice ``k`` in HU, float32 (y, x); slices are asked for from 0 upwards."""
        settings = self._settings
        link = min(0.15 + 0.5 * (settings.thickness_mm / settings.spacing_mm[2] - 1), 0.6)
        now = _white(self._rng, settings.shape[1::-1])
        mixed = now * np.float32(math.sqrt(1 - link * link)) + self._before * np.float32(link)
        self._before = now
        across, along = (
            self._relative_variance(paths[k], reference_mm=reference, size=size)
            for paths, reference, size in self._rays
        )
        noise = np.sqrt((across[:, None] + along) * np.float32((1 - _STREAKY) / 2))
        noise *= _textured(mixed, self._texture)
        noise += self._streaks(across, len(along)) * self._strength(across)[:, None]
        noise += self._streaks(along, len(across)).T * self._strength(along)
        noise *= np.float32(settings.noise_hu)
        return noise

    def _relative_variance(self, paths: np.ndarray, *, reference_mm: float, size: int) -> np.ndarray:
        """Variance that rays bring to each row or column, relative to the reference path: float32 (size,)."""
        strength = _WATER_PER_MM * (1 - self._settings.modulation)
        excess = [min(max(strength * (path - reference_mm), -2.0), 2.6) for path in paths.tolist()]
        values = [round(math.exp(value), 6) for value in excess]
        steps = np.repeat(np.asarray(values, np.float32), _STEP)[:size, None]
        return along_axis(steps, gaussian_taps(2.0 * _STEP, reach=2.0))[:, 0]

    def _streaks(self, level: np.ndarray, length: int) -> np.ndarray:
        """Streaks along rays of relative variance ``level`` (n,): (n, length)."""
        # where long paths make the streaks they follow the path; elsewhere they come from any side
        fields = self._straight if float(_excess(level).max()) > 1.0 else self._tilted
        return _cut(self._rng, fields, len(level), length)

    def _strength(self, level: np.ndarray) -> np.ndarray:
        return np.sqrt(level * np.float32(_STREAKY / 2) + _excess(level) * np.float32(0.25))


def _excess(level: np.ndarray) -> np.ndarray:
    return np.maximum(level - np.float32(1.2), np.float32(0))
