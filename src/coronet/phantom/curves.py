"""Curves in space: tubes with stations along them, splines and smoothing.

Points and directions are float64 arrays (3,), lines are (n, 3), both in mm, RAS+. Sums are written out: a dot
product may be rounded differently on another processor.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from coronet.phantom.random_draws import turn
from coronet.phantom.signed_distance import Vector


@dataclasses.dataclass(frozen=True)
class Station:
    """A place on a tube."""

    point: np.ndarray  # (3,) mm
    tangent: np.ndarray  # (3,) unit vector along the tube
    across: np.ndarray  # (3,) unit vector at right angles to the tangent
    up: np.ndarray  # (3,) unit vector at right angles to both
    radius_mm: float

    def wall(self, angle_deg: float, distance_mm: float) -> np.ndarray:
        """The point (3,) at ``distance_mm`` from the centre line, at an angle in the cross-section."""
        cos, sin = turn(angle_deg)
        return self.point + distance_mm * (cos * self.across + sin * self.up)


@dataclasses.dataclass(frozen=True)
class Tube:
    """A chain of rods with round ends: a vessel, an airway, a rib, a node."""

    points: np.ndarray  # (n, 3) in mm, n at least 2
    radii: np.ndarray  # (n,) in mm
    flat: Vector = (1.0, 1.0, 1.0)  # factors on the axes; 0.6 along z makes the tube 1 / 0.6 as high as wide

    def moved(self, points: np.ndarray) -> Tube:
        """The same tube along other points."""
        return dataclasses.replace(self, points=points)

    def narrowed(self, wall_mm: float) -> Tube:
        """The inside of a tube whose wall is ``wall_mm`` thick."""
        return dataclasses.replace(self, radii=np.maximum(self.radii - wall_mm, 0.0))

    @functools.cached_property
    def _marks(self) -> np.ndarray:
        """Length (n,) in mm from the start to each point."""
        return lengths_along(self.points)

    @property
    def length_mm(self) -> float:
        """Length of the centre line."""
        return float(self._marks[-1])

    def at(self, mark_mm: float) -> Station:
        """The place ``mark_mm`` from the start, kept within the tube."""
        mark = min(max(mark_mm, 0.0), self.length_mm)
        i = min(max(int(np.searchsorted(self._marks, mark, "right")) - 1, 0), len(self.points) - 2)
        start, end = float(self._marks[i]), float(self._marks[i + 1])
        part = (mark - start) / (end - start) if end > start else 0.0
        step, wider = self.points[i + 1] - self.points[i], float(self.radii[i + 1] - self.radii[i])
        tangent = unit(step)
        across, up = frame(tangent)
        return Station(self.points[i] + part * step, tangent, across, up, float(self.radii[i]) + part * wider)


def unit(vector: np.ndarray) -> np.ndarray:
    """Direction of a vector (3,); the z axis where it has no length."""
    size = norms(vector[None])[0]
    return vector / size if size > 0 else np.asarray((0.0, 0.0, 1.0))


def frame(normal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two unit vectors at right angles to a unit vector and to each other."""
    helper = (0.0, 0.0, 1.0) if abs(normal[2]) < 0.8 else (0.0, 1.0, 0.0)
    first = unit(np.cross(normal, helper))
    return first, np.cross(normal, first)


def norms(vectors: np.ndarray) -> np.ndarray:
    """Lengths (n,) of vectors (n, 3), summed in a fixed order."""
    x, y, z = vectors[:, 0], vectors[:, 1], vectors[:, 2]
    return np.sqrt(x * x + y * y + z * z)


def lengths_along(line: np.ndarray) -> np.ndarray:
    """Length (n,) from the start of a line (n, 3) to each of its points."""
    return np.concatenate([[0.0], np.cumsum(norms(line[1:] - line[:-1]))])


def slope(distance: Callable[[np.ndarray], np.ndarray], points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradient (n, 3) of a distance at points (n, 3), by central differences of 1 mm, and its length (n,)."""
    steps = np.eye(3) * 0.5
    found = np.stack([distance(points + step) - distance(points - step) for step in steps], axis=1)
    return found, norms(found)


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
        square, cube = (2 * a - 5 * b + 4 * c - d) * t * t, (3 * b - a - 3 * c + d) * t * t * t
        spans.append(0.5 * (2 * b + (c - a) * t + square + cube))
    return np.concatenate([*spans, points[-1:]])


def way_points(text: str) -> np.ndarray:
    """Points (n, 3) out of text such as "-8 0 28, -14 3 28", in mm."""
    return np.asarray([[float(value) for value in point.split()] for point in text.split(",")])
