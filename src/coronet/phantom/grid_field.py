"""Fields on coarse lattices in the world, and their interpolation on finer grids.

Lattice nodes lie at whole multiples of the pitch, whatever the grid to be painted, so that a phantom looks
the same in every scan of it. Arrays of this module are (z, y, x): rows along x are contiguous.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TypeAlias

import numpy as np

from coronet.imaging.resampling import mask_slices
from coronet.io.volume import triple
from coronet.phantom.signed_distance import Coordinates

WorldBox: TypeAlias = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]


def box_of(lines: Coordinates) -> WorldBox:
    """Lowest and highest position along x, y, z of a grid's voxels."""
    return triple((float(line[0]), float(line[-1])) for line in lines)


@dataclasses.dataclass(frozen=True)
class GridShape:
    """Nodes ``pitch_mm · (first + i)`` along each axis."""

    pitch_mm: float  # distance of neighbouring nodes
    first: tuple[int, int, int]  # index of the lowest node along x, y, z
    size: tuple[int, int, int]  # number of nodes along x, y, z

    @classmethod
    def over(cls, box: WorldBox, pitch_mm: float) -> GridShape:
        """The smallest lattice that encloses a box ((low, high) along x, y, z, in mm)."""
        first = triple(math.floor(low / pitch_mm) for low, _ in box)
        last = triple(math.ceil(high / pitch_mm) for _, high in box)
        return cls(pitch_mm, first, triple(max(b - a, 1) + 1 for a, b in zip(first, last, strict=True)))

    def line(self, axis: int) -> np.ndarray:
        """Positions of the nodes along one axis (0 is x), float32 mm."""
        return (np.arange(self.size[axis]) + self.first[axis]).astype(np.float32) * np.float32(self.pitch_mm)

    @property
    def lines(self) -> Coordinates:
        """`line` of x, y and z."""
        return self.line(0), self.line(1), self.line(2)

    def coordinates(self) -> Coordinates:
        """World coordinates (x, y, z), each broadcasting to (z, y, x)."""
        x, y, z = self.lines
        return x[None, None, :], y[None, :, None], z[:, None, None]


@dataclasses.dataclass(frozen=True)
class GridField:
    """Values on a lattice."""

    lattice: GridShape
    values: np.ndarray  # float32 (z, y, x)

    def near(self, threshold: float) -> GridField:
        """The part of the lattice that holds every cell in which a value is below ``threshold``."""
        box = mask_slices(self.values < threshold, (1, 1, 1)) or (slice(0, 2),) * 3
        part = np.ascontiguousarray(self.values[box])
        first = triple(old + side.start for old, side in zip(self.lattice.first, box[::-1], strict=True))
        return GridField(GridShape(self.lattice.pitch_mm, first, triple(part.shape[::-1])), part)

    def on(self, lines: Coordinates) -> np.ndarray:
        """Trilinear interpolation on a grid.

        Args:
            lines: positions (x), (y), (z) in mm, inside the lattice; values beyond it are those of its rim.

        Returns:
            float32 (z, y, x).
        """
        out = _along(self.values, self.lattice, 2, lines[2])
        out = _along(out, self.lattice, 0, lines[0])
        return _along(out, self.lattice, 1, lines[1])

    def on_part(self, lines: Coordinates) -> tuple[tuple[slice, slice, slice], np.ndarray] | None:
        """The same on the part of a grid that the lattice covers.

        Returns:
            Where in the grid (z, y, x) that part lies, and its values, float32 (z, y, x); None where the
            lattice covers nothing of it.
        """
        sides = []
        for axis, line in enumerate(lines):
            own = self.lattice.line(axis)
            first, last = np.searchsorted(line, own[0]), np.searchsorted(line, own[-1], "right")
            sides.append(slice(int(first), int(last)))
        if any(side.start >= side.stop for side in sides):
            return None
        x, y, z = sides
        return (z, y, x), self.on((lines[0][x], lines[1][y], lines[2][z]))

    def at(self, points: np.ndarray) -> np.ndarray:
        """Trilinear interpolation at points (n, 3) in mm; float64 (n)."""
        places = [_place(self.lattice, axis, np.asarray(points, np.float64)[:, axis]) for axis in range(3)]
        total = np.zeros(len(points))
        for corner in range(8):
            weight = np.ones(len(points))
            index = []
            for axis, (low, part) in enumerate(places):
                upper = (corner >> axis) & 1
                weight = weight * (part if upper else 1.0 - part)
                index.append(low + upper)
            total = total + weight * self.values[index[2], index[1], index[0]]
        return total


def _place(lattice: GridShape, axis: int, line: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Index of the node below each position, and the share of the way to the next."""
    place = np.asarray(line, np.float64) / lattice.pitch_mm - lattice.first[axis]
    place = np.minimum(np.maximum(place, 0.0), lattice.size[axis] - 1.0)
    low = np.minimum(np.floor(place), lattice.size[axis] - 2.0).astype(np.intp)
    return low, place - low


def _along(values: np.ndarray, lattice: GridShape, axis: int, line: np.ndarray) -> np.ndarray:
    low, part = _place(lattice, axis, line)
    which = 2 - axis
    weight = part.astype(np.float32).reshape([-1 if i == which else 1 for i in range(3)])
    below = np.take(values, low, axis=which)
    out = np.take(values, low + 1, axis=which)
    out -= below
    out *= weight
    out += below
    return out


def bspline(control: np.ndarray, control_mm: float, first: int, lattice: GridShape, axis: int) -> np.ndarray:
    """Cubic B-spline along one axis of (z, y, x) control values.

    Args:
        control: values at ``control_mm · (first + i)``; the spline does not pass through them.
        control_mm: distance of neighbouring controls.
        first: index of the lowest control.
        axis: 0 for x.
    """
    place = lattice.line(axis).astype(np.float64) / control_mm - first
    low = np.minimum(np.maximum(np.floor(place), 1.0), control.shape[2 - axis] - 3.0).astype(np.intp)
    t = place - low
    weights = (
        (1 - t) * (1 - t) * (1 - t) / 6,
        (3 * t * t * t - 6 * t * t + 4) / 6,
        (-3 * t * t * t + 3 * t * t + 3 * t + 1) / 6,
        t * t * t / 6,
    )
    shape = [-1 if i == 2 - axis else 1 for i in range(3)]
    out: np.ndarray | float = 0.0
    for tap, weight in enumerate(weights):
        out = out + np.take(control, low + tap - 1, axis=2 - axis) * weight.astype(np.float32).reshape(shape)
    return np.asarray(out)
