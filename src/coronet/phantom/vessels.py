"""Great vessels, airways and gullet, in body coordinates."""

from __future__ import annotations

import math

import numpy as np

from coronet.io.volume import triple
from coronet.phantom.curves import Tube, spline, way_points
from coronet.phantom.heart import ROOT, ROOT_RADII, TRUNK, TRUNK_RADII, Placement
from coronet.phantom.random_draws import between, chance
from coronet.phantom.ranges import Traits
from coronet.phantom.signed_distance import Vector, axis, cross
from coronet.phantom.thorax import spine_centre

_SOFT = {
    # name: way points in heart coordinates, radii
    "superior_cava": (way_points("30 -2 10, 29 -2 40, 27 2 78, 24 4 98"), (10.0, 9.5, 9.0, 8.0)),
    "right_vein": (way_points("24 4 98, 32 -2 125, 40 -10 150"), (7.5, 7.0, 6.0)),
    "left_vein": (way_points("24 4 96, 0 12 104, -32 0 128, -42 -10 150"), (7.0, 6.5, 6.5, 6.0)),
    "right_artery": (way_points("4 -6 108, 14 -14 130, 26 -24 160"), (6.5, 6.0, 5.0)),
    "left_carotid": (way_points("-8 -18 110, -14 -22 135, -20 -24 168"), (4.5, 4.0, 4.0)),
    "left_subclavian": (way_points("-15 -32 108, -24 -40 135, -40 -40 156"), (5.5, 5.0, 5.0)),
    "right_pulmonary": (way_points("-20 0 58, 0 -19 58, 26 -25 54, 48 -28 44"), (12.0, 11.0, 10.5, 8.0)),
    "left_pulmonary": (way_points("-21 2 58, -36 -20 64, -46 -38 58, -50 -42 40"), (12.0, 11.0, 9.5, 8.0)),
    "right_upper_vein": (way_points("24 -28 20, 42 -24 28, 56 -20 40"), (8.0, 6.5, 4.5)),
    "right_lower_vein": (way_points("24 -34 8, 44 -42 2, 60 -52 -8"), (8.0, 6.5, 4.5)),
    "left_upper_vein": (way_points("-24 -26 24, -42 -22 34, -56 -16 46"), (8.0, 6.5, 4.5)),
    "left_lower_vein": (way_points("-24 -36 8, -42 -44 4, -58 -54 -6"), (8.0, 6.5, 4.5)),
}
_LOWER_CAVA = ((27.0, -10.0, -30.0), (25.0, -22.0, -62.0))
_AIRWAYS = {
    "trachea": (way_points("4 -42 190, 4 -42 130, 3 -42 74"), (9.5, 9.5, 9.5)),
    "right_bronchus": (way_points("3 -42 75, 22 -44 60, 42 -44 46, 56 -44 24"), (8.0, 7.5, 6.0, 4.0)),
    "left_bronchus": (way_points("3 -42 75, -20 -46 56, -40 -50 42, -54 -54 20"), (8.0, 7.0, 6.0, 4.0)),
}
AIRWAY_WALL_MM = 1.5
CARINA = (3.0, -42.0, 70.0)
HILA = {"left": (-50.0, -38.0, 44.0), "right": (52.0, -32.0, 42.0)}


def _tube_through(points: np.ndarray, radii: tuple[float, ...]) -> Tube:
    """A tube along a smooth curve through way points."""
    line = spline(np.asarray(points, np.float64), 5)
    marks = np.arange(len(line)) / 5
    return Tube(line, np.interp(marks, np.arange(len(radii)), radii))


def great_vessels(rng: np.random.Generator, traits: Traits, heart: Placement) -> tuple[Tube, ...]:
    """Blood vessels; the first is the aorta, as one tube from the valve to the belly."""
    tubes = [_aorta(rng, traits, heart)]
    for points, radii in _SOFT.values():
        moved = points + _jitter(rng, len(points), 2.5)
        width = heart.scale * between(rng, 0.88, 1.15)
        tubes.append(_tube_through(heart.to_body(moved), tuple(r * width for r in radii)))
    body = heart.to_body(np.asarray(_LOWER_CAVA))
    low = body[-1]
    spine_x, spine_y = spine_centre(-200.0, traits)
    down = np.asarray(
        [
            low + np.asarray((-2.0, -12.0, -40.0)),
            (spine_x + 20.0, spine_y + 28.0, -200.0),
            (spine_x + 20.0, spine_y + 28.0, -300.0),
        ]
    )
    cava = np.concatenate([body, down])
    tubes.append(_tube_through(cava, tuple(heart.scale * r for r in (12.0, 12.0, 12.0, 11.0, 11.0))))
    trunk = heart.to_body(np.asarray(TRUNK[1:]))
    return (*tubes, _tube_through(trunk, tuple(heart.scale * r for r in TRUNK_RADII[1:])))


def _aorta(rng: np.random.Generator, traits: Traits, heart: Placement) -> Tube:
    near = heart.to_body(np.asarray(ROOT))
    arch = heart.to_body(
        np.asarray(((19.0, 0.0, 76.0), (12.0, -10.0, 97.0), (-4.0, -26.0, 106.0))) + _jitter(rng, 3, 3.0)
    )
    top = float(arch[-1][2])
    down = []
    for drop, left in (
        (12.0, 23.0),
        (35.0, 27.0),
        (70.0, 27.0),
        (110.0, 24.0),
        (150.0, 18.0),
        (190.0, 12.0),
        (260.0, 8.0),
        (400.0, 6.0),
    ):
        x, y = spine_centre(top - drop, traits)
        forward = (19.0 if drop < 100 else 27.0) * traits.vertebra
        down.append((x - left + between(rng, -3.0, 3.0), y + forward, top - drop))
    width = traits.aorta
    radii = [r * heart.scale for r in ROOT_RADII] + [
        r * width for r in (15.0, 14.5, 14.0, 13.5, 12.5, 12.0, 12.0, 11.5, 11.0, 10.5, 10.0)
    ]
    return _tube_through(np.concatenate([near, arch, np.asarray(down)]), tuple(radii))


def airways(rng: np.random.Generator, heart: Placement) -> tuple[Tube, ...]:
    """Trachea and main bronchi; radii are those of the outer surface."""
    width = between(rng, 0.85, 1.15)
    return tuple(
        _tube_through(heart.to_body(points), tuple(r * width for r in radii))
        for points, radii in _AIRWAYS.values()
    )


def gullet(rng: np.random.Generator, traits: Traits, heart: Placement) -> Tube:
    """The oesophagus, between trachea, heart and spine, down to the stomach."""
    points = []
    for z in (190.0, 130.0, 85.0, 50.0, 15.0, -25.0, -65.0):
        x, y = spine_centre(z, traits)
        left = 6.0 if z > 0 else 10.0
        points.append(
            (x - left + between(rng, -3.0, 3.0), y + 27.0 * traits.vertebra + between(rng, 0.0, 3.0), z)
        )
    points.append((points[-1][0] - 16.0, points[-1][1] + 18.0, -95.0))
    radius = between(rng, 5.5, 8.5)
    return _tube_through(np.asarray(points), (radius,) * len(points))


def _jitter(rng: np.random.Generator, count: int, size_mm: float) -> np.ndarray:
    return (rng.random((count, 3)) * 2 - 1) * size_mm


_SHARE = 0.8  # radius of a branch relative to its stem; Murray's law asks for 0.79


def lung_tree(rng: np.random.Generator, traits: Traits, root: np.ndarray, side: float) -> tuple[Tube, ...]:
    """Arteries and veins of one lung, which fork from the hilum outwards.

    Args:
        root: the hilum (3,), in body coordinates.
        side: 1 for the right lung, -1 for the left.
    """
    tubes: list[Tube] = []
    stems = (
        (0.5, 0.1, 0.9), (0.7, 0.75, 0.35), (0.9, -0.2, 0.35), (0.8, 0.5, -0.35),
        (0.75, -0.3, -0.7), (0.5, -0.55, -0.8), (0.35, -0.9, -0.1), (0.5, 0.2, -0.9), (0.5, -0.5, 0.75),
    )  # fmt: skip
    for x, y, z in stems:
        way = axis(
            (x * side + between(rng, -0.15, 0.15), y + between(rng, -0.2, 0.2), z + between(rng, -0.2, 0.2))
        )
        length, radius = between(rng, 26.0, 40.0), between(rng, 3.6, 5.4) * traits.lung_vessels
        _grow(rng, tubes, start=triple(root.tolist()), way=way, length=length, radius=radius, depth=6)
    return tuple(tubes)


def _grow(
    rng: np.random.Generator,
    tubes: list[Tube],
    *,
    start: Vector,
    way: Vector,
    length: float,
    radius: float,
    depth: int,
) -> None:
    first = axis(triple(w + between(rng, -0.18, 0.18) for w in way))
    bend = axis(triple(w + between(rng, -0.3, 0.3) for w in first))
    middle = triple(s + w * length * 0.5 for s, w in zip(start, first, strict=True))
    end = triple(m + w * length * 0.5 for m, w in zip(middle, bend, strict=True))
    thin = radius * (_SHARE + 0.08)
    tubes.append(Tube(np.asarray([start, middle, end]), np.asarray([radius, (radius + thin) / 2, thin])))
    if depth == 0 or radius < 0.45:
        return
    level = axis(cross(bend, (between(rng, -1, 1), between(rng, -1, 1), between(rng, -1, 1) + 0.01)))
    for sign in (1.0, -1.0):
        if depth < 4 and chance(rng, 0.2):
            continue
        spread = math.radians(between(rng, 14.0, 42.0))
        cos, sin = round(math.cos(spread), 9), round(math.sin(spread), 9)
        fork = axis(triple(b * cos + v * sin * sign for b, v in zip(bend, level, strict=True)))
        _grow(
            rng,
            tubes,
            start=end,
            way=fork,
            length=length * between(rng, 0.68, 0.92),
            radius=radius * _SHARE,
            depth=depth - 1,
        )
