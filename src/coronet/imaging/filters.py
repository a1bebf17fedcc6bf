"""Small symmetric filters out of additions and multiplications alone, in a fixed order."""

from __future__ import annotations

import math

import numpy as np


def gaussian_taps(sd: float, *, reach: float = 2.6) -> tuple[float, ...]:
    """Half of a normalised Gaussian, centre first, from a standard deviation in cells.

    Every tap is the Gaussian's integral over one cell; taps are rounded so that the last bits of ``erf``
    cannot matter.
    """
    if sd < 0.05:
        return (1.0,)
    radius = max(1, math.ceil(reach * sd))
    scale = sd * math.sqrt(2.0)
    raw = [(math.erf((i + 0.5) / scale) - math.erf((i - 0.5) / scale)) / 2 for i in range(radius + 1)]
    total = raw[0] + 2 * math.fsum(raw[1:])
    return tuple(round(value / total, 9) for value in raw)


def sharpen(narrow: tuple[float, ...], wide: tuple[float, ...], strength: float) -> tuple[float, ...]:
    """Taps of (1 + strength) · narrow − strength · wide: an edge-enhancing kernel."""
    size = max(len(narrow), len(wide))
    longer = [[*taps, *[0.0] * (size - len(taps))] for taps in (narrow, wide)]
    return tuple(
        round((1 + strength) * a - strength * b, 9) for a, b in zip(longer[0], longer[1], strict=True)
    )


def fixed_power(taps: tuple[float, ...]) -> float:
    """Sum of squares of the whole symmetric filter."""
    return taps[0] ** 2 + 2 * math.fsum(value**2 for value in taps[1:])


def along_axis(image: np.ndarray, taps: tuple[float, ...], axis: int = 0) -> np.ndarray:
    """Filter a float32 image (or stack) along one axis; edges repeat."""
    reach, size = len(taps) - 1, image.shape[axis]
    if reach == 0:
        return image * np.float32(taps[0])

    def part(of: np.ndarray, first: int, count: int) -> np.ndarray:
        return of[(slice(None),) * axis + (slice(first, first + count),)]

    edges = [part(image, 0, 1)] * reach, [part(image, size - 1, 1)] * reach
    wide = np.concatenate([*edges[0], image, *edges[1]], axis=axis)
    out = part(wide, reach, size) * np.float32(taps[0])
    pair = np.empty_like(out)
    for i in range(1, reach + 1):
        np.add(part(wide, reach - i, size), part(wide, reach + i, size), out=pair)
        np.multiply(pair, np.float32(taps[i]), out=pair)
        np.add(out, pair, out=out)
    return out


def in_plane(image: np.ndarray, taps: tuple[float, ...]) -> np.ndarray:
    """Filter along the first two axes."""
    return along_axis(along_axis(image, taps), taps, 1)


def blur_mm(values: np.ndarray, width_mm: float, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Gaussian of standard deviation ``width_mm`` along all axes; float32, edges repeat."""
    from scipy import ndimage

    out = values.astype(np.float32, copy=False)
    for axis, step in enumerate(spacing_mm):
        half = gaussian_taps(width_mm / step)
        taps = [*half[:0:-1], *half]
        if len(taps) > 1:
            out = ndimage.correlate1d(out, taps, axis=axis, mode="nearest")
    return out
