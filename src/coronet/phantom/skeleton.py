"""Bones: ribs, breastbone, collar bones, shoulder blades as tubes; the spine as distances."""

from __future__ import annotations

import math

import numpy as np

from coronet.phantom.curves import Tube, spline
from coronet.phantom.random_draws import between
from coronet.phantom.ranges import Traits
from coronet.phantom.signed_distance import Coordinates, Vector, disc
from coronet.phantom.thorax import rim, spine_centre

_GAP_MM = 23.0  # distance of neighbouring vertebrae
_FIRST_Z = 158.0  # height of the first thoracic vertebra
_STERNUM_Z = (-46.0, -30.0, 10.0, 50.0, 78.0, 92.0, 106.0)
_STERNUM_HALF = (5.0, 11.0, 15.0, 12.0, 16.0, 22.0, 20.0)
_JOINT_Z = (96.0, 76.0, 55.0, 35.0, 16.0, -4.0, -24.0)
"""Where the cartilages of ribs 1 to 7 meet the breastbone."""
_JOINT_DROP = (4.0, 6.0, 9.0, 14.0, 22.0, 32.0, 42.0)
_BONE_END = (2.35, 2.5, 2.55, 2.55, 2.5, 2.4, 2.3, 2.15, 2.0, 1.85, 1.35, 0.95)
"""Angle from the back at which each rib's bone ends."""
_FREE_DROP = (92.0, 90.0, 84.0, 48.0, 30.0)


def draw_bones(rng: np.random.Generator, traits: Traits) -> dict[str, tuple[Tube, ...]]:
    """Draw the bones that are tubes, in body coordinates.

    Returns:
        ``ribs``, right and left in turn, from the first down; their ``cartilages``; and other ``bones``:
        breastbone, collar bones, shoulder blades, upper arms.
    """
    front = np.asarray([rim(math.pi, z, 8.0, traits) for z in _STERNUM_Z])
    ribs, cartilages = [], []
    thick = between(rng, 0.9, 1.12)
    for number in range(12):
        for side in (1.0, -1.0):
            bone, cartilage = _rib(rng, number, side, thick, traits)
            ribs.append(bone)
            if cartilage is not None:
                cartilages.append(cartilage)
    breastbone = Tube(front, np.asarray(_STERNUM_HALF) * 0.36, (0.36, 1.0, 0.6))
    others = (breastbone, *_shoulder(1.0, traits), *_shoulder(-1.0, traits))
    return {"ribs": tuple(ribs), "cartilages": tuple(cartilages), "bones": others}


def _rib(
    rng: np.random.Generator, number: int, side: float, thick: float, traits: Traits
) -> tuple[Tube, Tube | None]:
    start_z = _FIRST_Z - _GAP_MM * number + between(rng, -2.0, 2.0)
    joined = number < 7
    drop = start_z - _JOINT_Z[number] + _JOINT_DROP[number] if joined else _FREE_DROP[number - 7]
    drop *= traits.rib_drop
    last = _BONE_END[number] + between(rng, -0.08, 0.08)
    spine_x, spine_y = spine_centre(start_z, traits)
    points = [(spine_x + side * 18.0, spine_y - 12.0, start_z)]
    for i in range(13):
        share = i / 12
        angle = 0.42 + (last - 0.42) * share
        x, y, z = rim(
            angle, start_z - drop * (0.25 * share + 0.75 * share * share * (3 - 2 * share)), 5.5, traits
        )
        points.append((x * side, y, z))
    line = spline(np.asarray(points), 3)
    radius = 3.9 * thick * (0.85 if number in (0, 10, 11) else 1.0)
    bone = Tube(line, np.full(len(line), radius), (1.0, 1.0, 0.62))
    if number >= 10:
        return bone, None
    end = line[-1]
    if joined:
        goal = np.asarray(rim(math.pi - 0.16, _JOINT_Z[number], 7.5, traits)) * (side, 1.0, 1.0)
        middle = np.asarray(
            rim((last + math.pi - 0.16) / 2, float(end[2] * 0.6 + goal[2] * 0.4), 6.5, traits)
        )
    else:
        height = _JOINT_Z[6] - _JOINT_DROP[6] - 14.0 * (number - 7)
        goal = np.asarray(rim(2.62 - 0.14 * (number - 7), height, 6.5, traits)) * (side, 1.0, 1.0)
        middle = np.asarray(rim((last + 2.62) / 2, float(end[2] * 0.6 + goal[2] * 0.4), 6.0, traits))
    line = spline(np.asarray([end, middle * (side, 1.0, 1.0), goal]), 5)
    return bone, Tube(line, np.full(len(line), 4.6 * thick), (1.0, 1.0, 0.7))


def _shoulder(side: float, traits: Traits) -> tuple[Tube, ...]:
    up = traits.arms_down <= 0
    joint = (142.0, -28.0, 148.0) if up else (158.0, -22.0, 128.0)
    collar = (
        rim(math.pi - 0.3, 108.0, 9.0, traits),
        (84.0, 6.0, 138.0),
        (joint[0] - 14.0, -14.0, joint[2] + 12.0),
    )
    lines: list[tuple[tuple[Vector, ...], tuple[float, ...]]] = [(collar, (6.0, 5.0, 5.5))]
    blade = [
        rim(0.85, 105.0, 17.0, traits),
        rim(0.8, 75.0, 16.0, traits),
        rim(0.85, 45.0, 15.0, traits),
        rim(0.95, 15.0, 14.0, traits),
    ]
    if up:
        blade = [(x + 14.0, y, z + 8.0) for x, y, z in blade]
    neck = (joint[0] - 22.0, joint[1] - 8.0, joint[2] - 14.0)
    lines += [((point, neck), (2.6, 5.5)) for point in blade]
    lines += [((blade[i], blade[i + 1]), (3.4, 3.4)) for i in range(3)]
    shaft = (178.0, 6.0, 310.0) if up else (184.0, -24.0, -190.0)
    lines += [((joint, joint), (22.0, 22.0)), ((joint, shaft), (13.0, 11.0))]
    return tuple(
        Tube(np.asarray(points) * (side * 1.0, 1.0, 1.0), np.asarray(radii)) for points, radii in lines
    )


def spine(at: Coordinates, traits: Traits) -> dict[str, np.ndarray]:
    """Distances of the spine at body coordinates.

    Returns:
        ``column``: vertebral bodies and discs together; ``bone``: bony parts, processes included; ``canal``.
    """
    x, y, z = at
    spine_x, spine_y = spine_centre(z, traits)
    size = traits.vertebra
    x, y = (x - spine_x) / size, (y - spine_y) / size
    place = (z - _FIRST_Z) * (1.0 / _GAP_MM)
    up = (place - np.rint(place)) * _GAP_MM
    high = np.abs(up)
    waist = np.minimum(high * 0.012, 0.1) + 0.94
    column = disc(x, y, 17.0 * waist, 14.5 * waist, 0.15)
    column = np.maximum(column, y - 12.5)
    body = np.maximum(column, high - 9.3)
    side = np.abs(x)
    canal = disc(x, y + 23.0, 10.0, 8.5, 0.0)
    arch = np.maximum(np.abs(canal - 3.2) - 3.2, np.abs(up + 3.0) - 7.5)
    slant = up + 8.0 + (-34.0 - y) * 0.55
    thorn = np.maximum(np.maximum(side - 2.8, np.abs(y + 43.0) - 13.0), np.abs(slant) - 7.0)
    wing = np.maximum(np.maximum(side - 31.0, np.abs(y + 26.0 + side * 0.25) - 4.5), np.abs(up) - 5.5)
    wing = np.maximum(wing, 9.0 - side)
    root = np.maximum(np.maximum(np.abs(side - 11.0) - 3.6, np.abs(y + 15.0) - 8.0), np.abs(up - 2.0) - 5.5)
    bone = np.minimum(np.minimum(body, arch), np.minimum(np.minimum(thorn, wing), root))
    bone = np.maximum(bone, -canal)
    return {"column": column * size, "bone": bone * size, "canal": canal * size}
