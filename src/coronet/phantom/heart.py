"""The heart: chambers, walls and fat in its own coordinates, and the pericardial sac as it lies in the chest.

The origin is the middle of the heart; axes are the body's for a heart of average pose and size: x grows to
the patient's right, y to the front, z to the head. Lengths are those of a heart of about 700 ml.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools

import numpy as np

from coronet.io.volume import triple
from coronet.phantom.curves import slope, smooth
from coronet.phantom.ranges import Traits
from coronet.phantom.signed_distance import (
    Coordinates,
    Vector,
    axis,
    capsule,
    cross,
    ellipsoid,
    meet,
    merge,
    rotation,
    transform,
)
from coronet.phantom.thorax import cavity, diaphragm_height

LONG = axis((-0.66, 0.54, -0.52))  # direction from the base to the apex
_SIDE = axis(cross(LONG, (0.0, 0.0, 1.0)))  # at right angles to the long axis, level
_AXES = (LONG, _SIDE, cross(LONG, _SIDE))

ROOT = ((4.0, 0.0, 14.0), (8.0, 3.0, 34.0), (16.0, 5.0, 56.0))
"""Aortic root and ascending aorta: from the valve upwards."""
ROOT_RADII = (15.0, 16.5, 15.5)
TRUNK = ((-8.0, 34.0, 2.0), (-14.0, 32.0, 24.0), (-18.0, 22.0, 42.0), (-21.0, 4.0, 58.0))
"""Outflow of the right ventricle and pulmonary trunk."""
TRUNK_RADII = (20.0, 16.0, 14.0, 13.5)
AORTIC_VALVE: Vector = (5.0, 1.0, 20.0)
MITRAL_VALVE: Vector = (-6.0, -14.0, 2.0)
_WALL_MM = 0.8  # least distance of the blood from the pericardial sac


@dataclasses.dataclass(frozen=True)
class Placement:
    """How the heart lies in the body: body = centre + matrix · (size * heart)."""

    centre: Vector  # body coordinates of the heart's origin
    matrix: tuple[Vector, Vector, Vector]
    size: Vector  # factors along the heart's axes

    def to_heart(self, at: Coordinates) -> Coordinates:
        """Heart coordinates of places given in body coordinates."""
        d = [p - c for p, c in zip(at, self.centre, strict=True)]
        return triple(
            (d[0] * self.matrix[0][i] + d[1] * self.matrix[1][i] + d[2] * self.matrix[2][i]) / self.size[i]
            for i in range(3)
        )

    def to_body(self, points: np.ndarray) -> np.ndarray:
        """Body coordinates (n, 3) of points in heart coordinates."""
        return transform(self.matrix, np.asarray(points, np.float64) * self.size) + self.centre

    @property
    def scale(self) -> float:
        """Mean factor of size."""
        return (self.size[0] + self.size[1] + self.size[2]) / 3


def place_heart(traits: Traits, front_mm: float) -> Placement:
    """Place the heart behind the breastbone, whose inner surface lies at ``front_mm``."""
    size = (
        traits.heart * traits.heart_x,
        traits.heart * traits.heart_y,
        traits.heart * traits.heart_z,
    )
    turned = rotation(traits.heart_turn_deg, traits.heart_nod_deg, traits.heart_tilt_deg)
    depth = front_mm - traits.heart_gap_mm - 51.0 * size[1]
    centre = (-traits.heart_left_mm, depth, traits.heart_rise_mm)
    return Placement(centre, turned, size)


@dataclasses.dataclass(frozen=True)
class Chambers:
    """Distances in mm of an average heart's size, negative inside."""

    left_ventricle: np.ndarray  # outer surface of the left ventricle
    left_cavity: np.ndarray  # its blood
    blood: np.ndarray  # all chambers and the roots of the great vessels, walls included
    pericardium: np.ndarray


def chambers(at: Coordinates, traits: Traits) -> Chambers:
    """Distances at heart coordinates."""
    lv = _ventricle(at, (-23.0, 9.0, -9.0), (46.0, 32.0, 34.0), traits.left_ventricle)
    wall = traits.wall_mm
    cavity = ellipsoid(
        at,
        (-21.0, 7.5, -7.5),
        triple(
            max(h * traits.left_ventricle - w, 8.0)
            for h, w in zip((46.0, 32.0, 34.0), (wall * 1.1, wall, wall), strict=True)
        ),
        _AXES,
    )
    rv = _ventricle(at, (-3.0, 23.0, -24.0), (44.0, 25.0, 28.0), traits.right_ventricle)
    ra = ellipsoid(at, (28.0, 3.0, -8.0), triple(h * traits.right_atrium for h in (20.0, 24.0, 36.0)))
    la = ellipsoid(at, (2.0, -26.0, 9.0), triple(h * traits.left_atrium for h in (33.0, 18.0, 28.0)))
    ear = capsule(at, ((-26.0, -20.0, 22.0), (-38.0, 4.0, 26.0)), (9.0, 5.5))
    right_ear = capsule(at, ((27.0, 12.0, 16.0), (15.0, 24.0, 28.0)), (10.0, 6.0))
    trunk, root = _rods(at, TRUNK, TRUNK_RADII), _rods(at, ROOT, ROOT_RADII)
    atria = merge(merge(ra, right_ear, 8.0), merge(la, ear, 8.0), 3.0)
    ventricles = merge(merge(rv, trunk, 12.0), lv, 3.0)
    blood = merge(merge(atria, ventricles, 3.0), root, 3.0)
    sac = merge(merge(lv, rv, 18.0), merge(ra, la, 20.0), 28.0)
    vessels = merge(trunk, root, 26.0)
    sac = merge(sac, vessels, 30.0) - traits.epicardial_fat_mm
    return Chambers(lv, cavity, blood, np.minimum(sac, blood))


def _ventricle(at: Coordinates, centre: Vector, half: Vector, size: float) -> np.ndarray:
    return ellipsoid(at, centre, triple(h * size for h in half), _AXES)


def _rods(at: Coordinates, points: tuple[Vector, ...], radii: tuple[float, ...]) -> np.ndarray:
    """Distance to a chain of rods."""
    ends, widths = itertools.pairwise(points), itertools.pairwise(radii)
    rods = (capsule(at, both, width) for both, width in zip(ends, widths, strict=True))
    return functools.reduce(np.minimum, rods)


def enclosed(at: Coordinates, traits: Traits, heart: Placement, floor_z: float) -> Chambers:
    """The heart as it lies in the chest: its outline, flattened by the diaphragm and the chest wall.

    Args:
        floor_z: its lowest point if nothing flattened it.

    Returns:
        Distances in mm of the body.
    """
    parts = chambers(heart.to_heart(at), traits)
    under = diaphragm_height(at[0], at[1], traits, floor_z) - at[2]
    sac = meet(meet(parts.pericardium * heart.scale, under + 1.5, 8.0), cavity(at, traits) + 4.0, 8.0)
    blood = np.maximum(parts.blood * heart.scale, sac + _WALL_MM)
    return Chambers(
        left_ventricle=np.maximum(parts.left_ventricle * heart.scale, blood),
        left_cavity=np.maximum(parts.left_cavity * heart.scale, blood),
        blood=blood,
        pericardium=sac,
    )


def kept_inside(
    points: np.ndarray, radius_mm: np.ndarray, traits: Traits, heart: Placement, floor_z: float
) -> np.ndarray:
    """Move points (n, 3) in body coordinates inwards until a vessel of that radius lies within the sac."""

    def outside(places: np.ndarray) -> np.ndarray:
        return enclosed((places[:, 0], places[:, 1], places[:, 2]), traits, heart, floor_z).pericardium

    for _ in range(6):
        excess = np.minimum(np.maximum(outside(points) + radius_mm + 1.2, 0.0), 3.0)
        way, size = slope(outside, points)
        points = points - way * (excess / np.maximum(size, 0.2))[:, None]
    return smooth(points, 3)
