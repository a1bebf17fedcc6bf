"""From the world to the body's own coordinates and back: rotation, size and elastic deformation.

World and body coordinates are RAS+ in mm. The body's origin lies in the middle of the chest, at the level of
the middle of the heart.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from coronet.io.volume import triple
from coronet.phantom.grid_field import GridField, GridShape, WorldBox, bspline
from coronet.phantom.ranges import Traits
from coronet.phantom.signed_distance import Coordinates, Vector, rotation, transform

_CONTROL_MM = 64.0
_PITCH_MM = 12.0
_REACH: WorldBox = ((-312.0, 312.0), (-264.0, 264.0), (-372.0, 312.0))
"""Where the deformation is defined; beyond, it is that of the rim."""


@dataclasses.dataclass(frozen=True)
class Pose:
    """How one body lies in the world."""

    matrix: tuple[Vector, Vector, Vector]  # three rows; body = matrix · world + displacement
    inverse: tuple[Vector, Vector, Vector]  # three rows of its inverse
    displacement: tuple[GridField, GridField, GridField]  # three fields (mm) over the world

    def to_body(self, lattice: GridShape) -> Coordinates:
        """Body coordinates (x, y, z) of a lattice's nodes, float32 (z, y, x) each."""
        x, y, z = lattice.coordinates()
        return triple(
            (x * row[0] + y * row[1]) + z * row[2] + field.on(lattice.lines)
            for row, field in zip(self.matrix, self.displacement, strict=True)
        )

    def to_world(self, points: np.ndarray) -> np.ndarray:
        """World coordinates (n, 3) of points given in body coordinates, by fixed-point iteration."""
        body = np.asarray(points, np.float64)
        world = transform(self.inverse, body)
        for _ in range(12):
            shift = np.stack([field.at(world) for field in self.displacement], axis=1)
            world = transform(self.inverse, body - shift)
        return world


def draw_pose(rng: np.random.Generator, traits: Traits) -> Pose:
    """Draw the elastic part; rotation and size are traits."""
    turn = rotation(traits.turn_deg, traits.tilt_deg, traits.lean_deg)
    size = (traits.width, traits.depth, traits.height)
    matrix = triple(triple(round(v / s, 9) for v in row) for row, s in zip(turn, size, strict=True))
    inverse = triple(triple(round(turn[j][i] * size[j], 9) for j in range(3)) for i in range(3))
    lattice = GridShape.over(_REACH, _PITCH_MM)
    control = GridShape.over(_REACH, _CONTROL_MM)
    first = tuple(f - 2 for f in control.first)
    shape = tuple(control.size[axis] + 4 for axis in (2, 1, 0))
    fields = []
    for _ in range(3):
        values = (rng.random(shape) * 2 - 1).astype(np.float32) * np.float32(traits.elastic_mm * 1.6)
        for axis in range(3):
            values = bspline(values, _CONTROL_MM, first[axis], lattice, axis)
        fields.append(GridField(lattice, values.astype(np.float32)))
    return Pose(matrix, inverse, triple(fields))
