"""Places of an anatomy that can hold deposits, and the part of it that a scan must cover."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from coronet.phantom.curves import Tube
from coronet.phantom.deposits import Deposit
from coronet.phantom.thorax import spine_centre, stomach_centre

if TYPE_CHECKING:
    from coronet.phantom.anatomy import Anatomy


@dataclasses.dataclass(frozen=True)
class Sites:
    """Places in mm, RAS+."""

    vessels: Mapping[str, Tube]  # coronary lumens by name
    aorta: Tube  # from the valve to the belly
    cartilages: tuple[Tube, ...]  # from the ribs' ends towards the breastbone
    marks: Mapping[str, np.ndarray]  # `Anatomy.landmarks`, and the middle of the ``stomach``
    heart_surface: tuple[np.ndarray, ...]  # points (3,) on the pericardium
    heart_box_mm: tuple[np.ndarray, np.ndarray]  # lowest and highest corner (3,) of the heart
    spine: Tube  # through the vertebral bodies, from below
    numbers: dict[str, Any]  # sizes worth noting in the truth
    plaques: tuple[Deposit, ...] = ()  # of the coronary arteries


_CARTILAGE_MM = 6.0  # radius of a costal cartilage
COARSE_MM = 4.0
_COARSE_REACH_MM = 120.0  # the heart is searched in a cube of this half edge around its centre


def find_sites(anatomy: Anatomy) -> Sites:
    """Read the places off an anatomy; the heart's surface comes from a coarse mask of it."""
    from coronet.phantom.rasterize import exact_heart_mask

    centre = anatomy.landmarks["heart_centre"]
    count = 2 * math.ceil(_COARSE_REACH_MM / COARSE_MM) + 1
    affine = np.diag([COARSE_MM, COARSE_MM, COARSE_MM, 1.0])
    affine[:3, 3] = centre - COARSE_MM * (count // 2)
    heart = exact_heart_mask(anatomy, affine, (count, count, count))
    inside = np.argwhere(heart)
    low, high = (affine[:3, 3] + edge * COARSE_MM for edge in (inside.min(axis=0), inside.max(axis=0)))
    backbone = np.asarray(
        [(*spine_centre(z, anatomy.traits), z) for z in np.arange(-150.0, 151.0, 15.0).tolist()]
    )
    stomach = anatomy.pose.to_world(np.asarray([stomach_centre(anatomy.traits, anatomy.floor_z)]))[0]
    vessels, aorta = anatomy.coronaries, anatomy.tubes["vessels"][0]
    return Sites(
        vessels=vessels,
        aorta=aorta,
        cartilages=tuple(
            dataclasses.replace(tube, radii=np.full(len(tube.points), _CARTILAGE_MM))
            for tube in anatomy.tubes["cartilages"]
        ),
        marks={**anatomy.landmarks, "stomach": stomach},
        heart_surface=tuple(affine[:3, 3] + _surface(heart) * COARSE_MM),
        heart_box_mm=(low, high),
        spine=Tube(anatomy.pose.to_world(backbone), np.full(len(backbone), 15.0)),
        numbers={
            "vessel_mm": {name: round(curve.length_mm, 1) for name, curve in vessels.items()},
            "aorta_radius_mm": [round(float(aorta.radii.min()), 2), round(float(aorta.radii.max()), 2)],
            "heart_box_mm": [round(float(side), 1) for side in high - low],
            "heart_centre_mm": [round(float(value), 2) for value in centre],
            "chest_half_axes_mm": [round(float(value), 1) for value in anatomy.landmarks["body_half_axes"]],
        },
    )


def _surface(mask: np.ndarray) -> np.ndarray:
    """Indices (n, 3) of the voxels of a mask that have a neighbour outside it."""
    deep = mask.copy()
    for axis in range(3):
        for step in (1, -1):
            deep &= np.roll(mask, step, axis=axis)
    return np.argwhere(mask & ~deep)
