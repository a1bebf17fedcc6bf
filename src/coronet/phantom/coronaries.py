"""The coronary tree: curves that follow the grooves of the heart's surface, bedded in fat."""

from __future__ import annotations

import numpy as np

from coronet.phantom.curves import Tube, lengths_along, slope, smooth, spline, way_points
from coronet.phantom.heart import chambers
from coronet.phantom.random_draws import between
from coronet.phantom.ranges import Traits

_COURSES: dict[str, tuple[np.ndarray, tuple[float, float]]] = {
    "LM": (way_points("-8 0 28, -14 3 28, -20 7 26"), (2.3, 2.1)),
    "LAD": (
        way_points("-20 7 26, -28 16 24, -35 28 17, -41 38 6, -49 46 -8, -58 50 -22, -66 48 -36"),
        (1.9, 0.8),
    ),
    "LCX": (
        way_points("-20 7 26, -31 0 22, -42 -12 14, -46 -22 2, -42 -28 -10, -32 -30 -20, -20 -28 -26"),
        (1.8, 0.8),
    ),
    "RCA": (
        way_points(
            "10 15 28, 18 28 26, 27 38 16, 33 42 0, 34 38 -18, 30 26 -36, 20 8 -44, "
            "6 -10 -42, -10 -12 -42, -26 0 -46, -40 14 -48"
        ),
        (2.0, 0.8),
    ),
}
"""Way points in heart coordinates and the radius at both ends; the surface decides the exact place."""

_BED_MM = 1.6  # gap between a vessel's wall and the muscle below it


def draw_coronaries(rng: np.random.Generator, traits: Traits) -> dict[str, Tube]:
    """Draw the tree on a heart: lumens by name, from the aorta outwards, in heart coordinates."""
    tree: dict[str, Tube] = {}
    size = between(rng, 0.85, 1.15)
    for name, (course, ends) in _COURSES.items():
        main = name == "LM"
        shift = (rng.random(course.shape) * 2 - 1) * (0.5 if main else 2.5)
        shift[0] = 0.0
        if main:
            shift[-1] = 0.0
        reach = 1.0 if main else between(rng, 0.8, 1.0)
        line = spline(course + shift, 24)
        line = line[: max(round(len(line) * reach), 4)]
        if not main:
            start = tree["LM"].points[-1] if name in ("LAD", "LCX") else None
            line = _settle(line, _radii(len(line), ends, size), traits, start)
        line = _evenly(line, 1.0)
        tree[name] = Tube(line, _radii(len(line), ends, size))
    return tree


def _radii(count: int, ends: tuple[float, float], size: float) -> np.ndarray:
    """Radii that fall evenly from one end to the other."""
    first, last = ends
    return (first + (last - first) * (np.arange(count) / (count - 1))) * size


def _settle(line: np.ndarray, radius: np.ndarray, traits: Traits, start: np.ndarray | None) -> np.ndarray:
    """Move a line so that it runs just outside the muscle, then smooth it.

    Args:
        line: (n, 3) in heart coordinates.
        radius: (n,) of the vessel.
        start: point that the line must begin at, or None.
    """
    ease = np.minimum(np.arange(len(line)) / 18.0, 1.0)
    for _ in range(4):
        for _ in range(4):
            value, way = _surface(line, traits)
            step = np.minimum(np.maximum((radius + _BED_MM - value) * ease, -4.0), 4.0)
            line = line + way * step[:, None]
        line = smooth(line, 6)
        if start is not None:
            fade = np.maximum(1.0 - np.arange(len(line)) / 12.0, 0.0)
            line = line + (start - line[0]) * fade[:, None]
    return line


def _surface(line: np.ndarray, traits: Traits) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the chambers and its unit gradient at points (n, 3)."""

    def distance(points: np.ndarray) -> np.ndarray:
        return chambers((points[:, 0], points[:, 1], points[:, 2]), traits).blood

    way, size = slope(distance, line)
    return distance(line), way / np.maximum(size, 1e-3)[:, None]


def _evenly(line: np.ndarray, step_mm: float) -> np.ndarray:
    """The same polyline with points ``step_mm`` apart."""
    marks = lengths_along(line)
    parts = max(round(float(marks[-1]) / step_mm), 2)
    wanted = np.arange(parts + 1) * (marks[-1] / parts)
    return np.stack([np.interp(wanted, marks, line[:, i]) for i in range(3)], axis=1)
