"""Places of an anatomy that can hold deposits, and the part of it that a scan must cover."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from coronet.phantom.curves import Polyline
from coronet.phantom.signed_distance import Vector

if TYPE_CHECKING:
    from coronet.phantom.anatomy import Anatomy


@dataclasses.dataclass(frozen=True)
class Sites:
    """Places in mm, RAS+."""

    vessels: dict[str, Polyline]  # coronary centre lines by name
    aorta: Polyline  # centre line and radius, from the valve to the descending part
    aortic_valve: tuple[Vector, Vector]
    mitral_valve: tuple[Vector, Vector]  # centre and normal
    hila: tuple[Vector, Vector]  # left and right
    carina: Vector
    heart_centre: Vector
    cartilages: tuple[Polyline, ...]  # centre lines from the ribs' ends towards the breastbone
    heart_surface: tuple[Vector, ...]  # points on the pericardium
    sternum: tuple[Vector, ...]  # from the lower to the upper end
    heart_box_mm: tuple[np.ndarray, np.ndarray]  # lowest and highest corner (3,) of the heart
    numbers: dict[str, Any]  # sizes worth noting in the truth


_CARTILAGE_MM = 6.0  # radius of a costal cartilage
COARSE_MM = 4.0
_COARSE_REACH_MM = 120.0  # the heart is searched in a cube of this half edge around its centre


def find_sites(anatomy: Anatomy) -> Sites:
    """Read the places off an anatomy; the heart's surface comes from a coarse mask of it."""
    from coronet.phantom.rasterize import exact_heart_mask

    marks = anatomy.landmarks
    centre = _vector(marks["heart_centre"])
    count = 2 * math.ceil(_COARSE_REACH_MM / COARSE_MM) + 1
    affine = np.diag([COARSE_MM, COARSE_MM, COARSE_MM, 1.0])
    affine[:3, 3] = [c - COARSE_MM * (count // 2) for c in centre]
    heart = exact_heart_mask(anatomy, affine, (count, count, count))
    inside = np.argwhere(heart)
    box = tuple(affine[:3, 3] + edge * COARSE_MM for edge in (inside.min(axis=0), inside.max(axis=0)))
    vessels = {c.name: Polyline.through(c.points_mm, c.radius_mm) for c in anatomy.coronaries}
    aorta = Polyline.through(marks["aorta_points"], marks["aorta_radius_mm"])
    return Sites(
        vessels=vessels,
        aorta=aorta,
        aortic_valve=(_vector(marks["aortic_valve"]), _vector(marks["aortic_valve_normal"])),
        mitral_valve=(_vector(marks["mitral_valve"]), _vector(marks["mitral_valve_normal"])),
        hila=(_vector(marks["hilum_left"]), _vector(marks["hilum_right"])),
        carina=_vector(marks["carina"]),
        heart_centre=centre,
        cartilages=tuple(Polyline.through(line, _CARTILAGE_MM) for line in marks["cartilages"]),
        heart_surface=tuple(_vector(point) for point in affine[:3, 3] + _surface(heart) * COARSE_MM),
        sternum=tuple(_vector(point) for point in marks["sternum"]),
        heart_box_mm=box,
        numbers={
            "vessel_mm": {name: round(curve.length_mm, 1) for name, curve in vessels.items()},
            "aorta_radius_mm": [round(min(aorta.radii_mm), 2), round(max(aorta.radii_mm), 2)],
            "heart_box_mm": [round(float(b - a), 1) for a, b in zip(*box, strict=True)],
            "heart_centre_mm": [round(value, 2) for value in centre],
            "chest_half_axes_mm": [round(value, 1) for value in _vector(marks["body_half_axes"])],
        },
    )


def _vector(point: np.ndarray) -> Vector:
    x, y, z = (float(value) for value in point)
    return x, y, z


def _surface(mask: np.ndarray) -> np.ndarray:
    """Indices (n, 3) of the voxels of a mask that have a neighbour outside it."""
    deep = mask.copy()
    for axis in range(3):
        for step in (1, -1):
            deep &= np.roll(mask, step, axis=axis)
    return np.argwhere(mask & ~deep)
