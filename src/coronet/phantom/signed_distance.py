"""Signed distances of simple bodies, in mm and negative inside.

Every operation is one that IEEE 754 defines exactly (sums, products, quotients, square roots, comparisons),
so that all processors agree on every bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from coronet.io.volume import triple

Coordinates: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]
Vector: TypeAlias = tuple[float, float, float]
OUTSIDE_MM = 99.0  # distance given to places too far away to matter


def merge(a: np.ndarray, b: np.ndarray, width_mm: float) -> np.ndarray:
    """Union with a rounded seam: the polynomial smooth minimum, k = ``width_mm``."""
    gap = a - b
    near = np.maximum(width_mm - np.abs(gap), 0.0)
    return np.minimum(a, b) - near * near * (0.25 / width_mm)


def meet(a: np.ndarray, b: np.ndarray, width_mm: float) -> np.ndarray:
    """Intersection with a rounded edge."""
    return -merge(-a, -b, width_mm)


def disc(
    x: np.ndarray, y: np.ndarray, a: np.ndarray | float, b: np.ndarray | float, squareness: float
) -> np.ndarray:
    """Distance along the radius to an ellipse with half axes a, b, between round (0) and box-like (1)."""
    u, v = x / a, y / b
    u, v = u * u, v * v
    r = np.sqrt((u + v) * (1.0 - squareness) + np.sqrt(u * u + v * v) * squareness)
    radius = np.sqrt(x * x + y * y)
    return (r - 1.0) * (radius + 0.01 * b) / (r + 0.01)


def ellipsoid(
    at: Coordinates, centre: Vector, half: Vector, axes: Sequence[Vector] | None = None
) -> np.ndarray:
    """Distance to an ellipsoid, exact at its surface to first order.

    Args:
        half: half axes in mm.
        axes: three unit vectors at right angles, or None for those of the coordinates.
    """
    d = [p - c for p, c in zip(at, centre, strict=True)]
    if axes is not None:
        d = [d[0] * e[0] + d[1] * e[1] + d[2] * e[2] for e in axes]
    u = [p / h for p, h in zip(d, half, strict=True)]
    v = [p / h for p, h in zip(u, half, strict=True)]
    k0 = np.sqrt(u[0] * u[0] + u[1] * u[1] + u[2] * u[2])
    k1 = np.sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2])
    return (k0 - 1.0) * (k0 + 0.001) / (k1 + 0.001 / min(half))


def capsule(
    at: Coordinates,
    ends: Sequence[Sequence[float]],
    radii: Sequence[float],
    flat: Sequence[float] = (1.0, 1.0, 1.0),
) -> np.ndarray:
    """Distance to a rod with round ends.

    Args:
        at: coordinates (x, y, z), which may broadcast.
        ends: in mm.
        radii: at both ends, in mm.
        flat: factors on the three axes; 0.5 makes the rod twice as thick along that axis.
    """
    a, b = ends
    step = [(q - p) * f for p, q, f in zip(a, b, flat, strict=True)]
    size = step[0] * step[0] + step[1] * step[1] + step[2] * step[2]
    d = [(p - c) * f if f != 1.0 else p - c for p, c, f in zip(at, a, flat, strict=True)]
    scale = 1.0 / size if size > 0 else 0.0
    part = d[0] * (step[0] * scale) + d[1] * (step[1] * scale) + d[2] * (step[2] * scale)
    np.minimum(np.maximum(part, 0.0, out=part), 1.0, out=part)

    def square(i: int) -> np.ndarray:
        out = part * step[i]
        np.subtract(d[i], out, out=out)
        out *= out
        return out

    apart = square(0)
    apart += square(1)
    apart += square(2)
    np.sqrt(apart, out=apart)
    part *= radii[1] - radii[0]
    part += radii[0]
    apart -= part
    return apart


def profile(z: np.ndarray, levels: Sequence[float], values: Sequence[float]) -> np.ndarray:
    """A quantity that changes along z, linear between its levels."""
    return np.interp(z, levels, values).astype(z.dtype)


def axis(vector: Vector) -> Vector:
    """The unit vector along ``vector``, rounded."""
    size = math.sqrt(sum(v * v for v in vector))
    return triple(round(v / size, 9) for v in vector)


def cross(a: Vector, b: Vector) -> Vector:
    """Vector at right angles to both."""
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


def rotation(turn_deg: float, tilt_deg: float, lean_deg: float) -> tuple[Vector, Vector, Vector]:
    """Rows of the matrix that turns about z, then x (tilt), then y (lean); rounded sines and cosines."""
    (cz, sz), (cx, sx), (cy, sy) = (
        (round(math.cos(math.radians(v)), 9), round(math.sin(math.radians(v)), 9))
        for v in (turn_deg, tilt_deg, lean_deg)
    )
    about_z = ((cz, -sz, 0.0), (sz, cz, 0.0), (0.0, 0.0, 1.0))
    about_x = ((1.0, 0.0, 0.0), (0.0, cx, -sx), (0.0, sx, cx))
    about_y = ((cy, 0.0, sy), (0.0, 1.0, 0.0), (-sy, 0.0, cy))
    return product(about_y, product(about_x, about_z))


def transform(matrix: Sequence[Vector], points: np.ndarray) -> np.ndarray:
    """A 3 × 3 matrix applied to points (n, 3), as sums in a fixed order."""
    x, y, z = points[:, 0], points[:, 1], points[:, 2]
    return np.stack([x * row[0] + y * row[1] + z * row[2] for row in matrix], axis=1)


def product(a: Sequence[Vector], b: Sequence[Vector]) -> tuple[Vector, Vector, Vector]:
    """Matrix product of two 3 × 3 matrices, in plain numbers."""
    return triple(
        triple(a[i][0] * b[0][j] + a[i][1] * b[1][j] + a[i][2] * b[2][j] for j in range(3)) for i in range(3)
    )
