"""Curves in space: polylines with places along them, splines and smoothing; vectors are plain numbers."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
import math
from collections.abc import Callable

import numpy as np

from coronet.io.volume import triple
from coronet.phantom.signed_distance import Vector, cross


@dataclasses.dataclass(frozen=True)
class Station:
    """A place on a curve."""

    point: Vector  # mm, RAS+
    tangent: Vector  # unit vector along the curve
    across: Vector  # unit vector at right angles to the tangent
    up: Vector  # unit vector at right angles to both
    radius_mm: float

    def wall(self, cos: float, sin: float, distance_mm: float) -> Vector:
        """The point at ``distance_mm`` from the curve in the direction (cos, sin) of the cross-section."""
        return triple(
            p + distance_mm * (cos * a + sin * u)
            for p, a, u in zip(self.point, self.across, self.up, strict=True)
        )


@dataclasses.dataclass(frozen=True)
class Polyline:
    """A tube along a polyline."""

    points: tuple[Vector, ...]  # (n) points in mm
    radii_mm: tuple[float, ...]  # (n) radii
    marks: tuple[float, ...]  # (n) length from the start to each point, in mm

    @classmethod
    def through(cls, points_mm: np.ndarray, radius_mm: np.ndarray | float) -> Polyline:
        """The polyline through (n, 3) points with one radius or (n,) radii."""
        points = tuple(triple(float(v) for v in point) for point in np.asarray(points_mm))
        radii = np.broadcast_to(np.asarray(radius_mm, dtype=np.float64), (len(points),))
        marks = [0.0]
        for a, b in itertools.pairwise(points):
            marks.append(marks[-1] + _length(_minus(b, a)))
        return cls(points, tuple(float(r) for r in radii), tuple(marks))

    @property
    def length_mm(self) -> float:
        """Length of the whole curve."""
        return self.marks[-1]

    def at(self, mark_mm: float) -> Station:
        """The place ``mark_mm`` from the start, kept within the curve."""
        mark = min(max(mark_mm, 0.0), self.length_mm)
        i = min(max(bisect.bisect_right(self.marks, mark) - 1, 0), len(self.points) - 2)
        span = self.marks[i + 1] - self.marks[i]
        part = (mark - self.marks[i]) / span if span > 0 else 0.0
        a, b = self.points[i], self.points[i + 1]
        tangent = unit(_minus(b, a))
        across, up = frame(tangent)
        return Station(
            point=triple(p + part * (q - p) for p, q in zip(a, b, strict=True)),
            tangent=tangent,
            across=across,
            up=up,
            radius_mm=self.radii_mm[i] + part * (self.radii_mm[i + 1] - self.radii_mm[i]),
        )


def _minus(a: Vector, b: Vector) -> Vector:
    """a − b."""
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


def plus(a: Vector, b: Vector, times: float = 1.0) -> Vector:
    """a + times · b."""
    return a[0] + times * b[0], a[1] + times * b[1], a[2] + times * b[2]


def _length(a: Vector) -> float:
    """Euclidean length."""
    return math.sqrt(a[0] * a[0] + a[1] * a[1] + a[2] * a[2])


def unit(a: Vector) -> Vector:
    """Direction of ``a``; the z axis where it has no length."""
    size = _length(a)
    return (a[0] / size, a[1] / size, a[2] / size) if size > 0 else (0.0, 0.0, 1.0)


def frame(normal: Vector) -> tuple[Vector, Vector]:
    """Two unit vectors at right angles to a unit vector and to each other."""
    helper = (0.0, 0.0, 1.0) if abs(normal[2]) < 0.8 else (0.0, 1.0, 0.0)
    first = unit(cross(normal, helper))
    return first, cross(normal, first)


def toward(start: Vector, end: Vector, part: float) -> Vector:
    """The point a share ``part`` of the way from ``start`` to ``end``."""
    return plus(start, _minus(end, start), part)


def slope(distance: Callable[[np.ndarray], np.ndarray], points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradient (n, 3) of a distance at points (n, 3), by central differences of 1 mm, and its length (n,)."""
    steps = np.eye(3) * 0.5
    found = np.stack([distance(points + step) - distance(points - step) for step in steps], axis=1)
    return found, norms(found)


def norms(vectors: np.ndarray) -> np.ndarray:
    """Lengths of vectors (n, 3), summed in a fixed order."""
    x, y, z = vectors[:, 0], vectors[:, 1], vectors[:, 2]
    return np.sqrt(x * x + y * y + z * z)


def smooth(line: np.ndarray, rounds: int) -> np.ndarray:
    """Average each inner point with its neighbours, again and again."""
    for _ in range(rounds):
        inner = line[:-2] * 0.25 + line[1:-1] * 0.5 + line[2:] * 0.25
        line = np.concatenate([line[:1], inner, line[-1:]])
    return line


def spline(points: np.ndarray, parts: int) -> np.ndarray:
    """Catmull–Rom curve through points (n, 3), each span cut into ``parts``."""
    ends = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    t = (np.arange(parts) / parts)[:, None]
    spans = []
    for i in range(len(points) - 1):
        a, b, c, d = ends[i : i + 4]
        spans.append(
            0.5
            * (
                2 * b
                + (c - a) * t
                + (2 * a - 5 * b + 4 * c - d) * t * t
                + (3 * b - a - 3 * c + d) * t * t * t
            )
        )
    return np.concatenate([*spans, points[-1:]])


def way_points(text: str) -> tuple[Vector, ...]:
    """Points out of text such as "-8 0 28, -14 3 28", in mm."""
    return tuple(triple(float(value) for value in point.split()) for point in text.split(","))
