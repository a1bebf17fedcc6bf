"""The pericardial sac in the body: the heart's outline, flattened by the diaphragm and the chest wall."""

from __future__ import annotations

import numpy as np

from coronet.phantom.coronaries import smooth
from coronet.phantom.heart import Chambers, Placement, chambers
from coronet.phantom.ranges import Traits
from coronet.phantom.signed_distance import Coordinates, meet
from coronet.phantom.thorax import cavity, diaphragm_height

_WALL_MM = 0.8
"""Least distance of the blood from the sac."""


def enclosed(at: Coordinates, traits: Traits, heart: Placement, floor_z: float) -> Chambers:
    """The heart as it lies in the chest.

    Args:
        at: body coordinates.
        traits: the phantom's.
        heart: where the heart lies.
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
        slope = np.stack(
            [outside(points + np.eye(3)[i] * 0.5) - outside(points - np.eye(3)[i] * 0.5) for i in range(3)],
            axis=1,
        )
        size = np.sqrt(slope[:, 0] * slope[:, 0] + slope[:, 1] * slope[:, 1] + slope[:, 2] * slope[:, 2])
        points = points - slope * (excess / np.maximum(size, 0.2))[:, None]
    return smooth(points, 3)
