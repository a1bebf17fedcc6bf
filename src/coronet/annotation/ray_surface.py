"""A closed surface around a centre, as its distance in each of many directions.

Most of a heart's surface is where lung begins, which a ray from its middle finds by itself. Where tissue goes
on (vessels, diaphragm, chest wall) the surface is interpolated from around the gap; strokes bind it: it stays
outside heart strokes and inside background strokes.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from coronet.annotation.block_grid import BlockMeans, Body
from coronet.imaging.filters import blur_mm
from coronet.io.volume import triple

_COUNT = 800
_NEIGHBOURS = 6
_STEP_MM = 2.0
_REACH_MM = 120.0
_ROUNDS = 150
_STIFF = 1.5  # weight of the neighbours' mean against one ray's own finding
_BEYOND_MM = 12.0  # a ray that finds lung farther than this behind its neighbours has gone through a gap
_ALIKE = 0.5
BEFORE_BACKGROUND_MM = 4.0
BEHIND_HEART_MM = 3.0
_LUNG_HU = -350.0
_BONE_HU = 170.0
_BEFORE_BONE_MM = 9.0
_LEAST_MM = 15.0
_LEVEL_MM = 25.0
_FRONT_MM = 4.0


@dataclasses.dataclass(frozen=True)
class Rays:
    """What lies in each direction."""

    centre: tuple[float, float, float]  # in blocks (x, y, z)
    wall: np.ndarray  # float32 (COUNT,), mm to lung or bone; `_REACH_MM` where there is none
    least: np.ndarray  # float32, mm that the surface must not fall short of
    most: np.ndarray  # float32, mm that it must not pass


@functools.cache
def _directions() -> np.ndarray:
    """`_COUNT` unit vectors (x, y, z) evenly over the sphere (Fibonacci), rounded to 6 decimals."""
    golden = math.pi * (3 - math.sqrt(5))
    rows = []
    for number in range(_COUNT):
        up = 1 - 2 * (number + 0.5) / _COUNT
        flat = math.sqrt(1 - up * up)
        rows.append([flat * math.cos(golden * number), flat * math.sin(golden * number), up])
    return np.round(np.array(rows), 6)


@functools.cache
def _neighbours() -> np.ndarray:
    return cKDTree(_directions()).query(_directions(), k=_NEIGHBOURS + 1)[1][:, 1:]


def _around(surface: np.ndarray) -> np.ndarray:
    """Mean of each direction's neighbours."""
    table = _neighbours()
    total = surface[table[:, 0]]
    for column in range(1, _NEIGHBOURS):
        total = total + surface[table[:, column]]
    return total / np.float32(_NEIGHBOURS)


def _along(values: np.ndarray, centre: tuple[float, float, float], blocks: BlockMeans) -> np.ndarray:
    """Values in each direction, every `_STEP_MM` from the centre: float32 (COUNT, steps)."""
    steps = np.arange(0.0, _REACH_MM, _STEP_MM)
    places = [
        middle + _directions()[:, axis, None] * steps / blocks.spacing_mm[axis]
        for axis, middle in enumerate(centre)
    ]
    return ndimage.map_coordinates(values.astype(np.float32), places, order=1, mode="nearest")


def cast_rays(blocks: BlockMeans, body: Body, heart: np.ndarray, background: np.ndarray) -> Rays:
    """Cast rays from the middle of blocks that are surely heart.

    Args:
        body: for where its lungs are.
        heart: bool, blocks that are surely heart.
        background: bool, blocks that surely are not.
    """
    index = np.stack(np.nonzero(heart), axis=1)
    low, high = index.min(axis=0), index.max(axis=0)
    # The middle of the extent, since strokes do not fill the heart evenly.
    centre = triple(float(a + b) / 2 for a, b in zip(low, high, strict=True))
    air = _along(blur_mm(blocks.hu, 1.5, blocks.spacing_mm), centre, blocks)
    front = _along(_chest_wall(blocks, body), centre, blocks) > 0.5
    wall = np.minimum(
        _first(air < _LUNG_HU),
        np.maximum(_first(air > _BONE_HU) - _BEFORE_BONE_MM, np.float32(_LEAST_MM)),
    )
    least, most = np.zeros(_COUNT, np.float32), _first(front)
    which, far = _stroke_depths(heart, centre, blocks)
    np.maximum.at(least, which, far + np.float32(BEHIND_HEART_MM))
    which, far = _stroke_depths(background, centre, blocks)
    np.minimum.at(most, which, np.maximum(far - np.float32(BEFORE_BACKGROUND_MM), np.float32(_LEAST_MM)))
    return Rays(centre, wall, least, np.maximum(most, least))


def _chest_wall(blocks: BlockMeans, body: Body) -> np.ndarray:
    """What lies in front of all lung within `_LEVEL_MM` above and below; bool."""
    lung = body.lungs.any(axis=0)
    rows = np.arange(lung.shape[0])[:, None]
    tips = np.where(lung, rows, -1).max(axis=0)
    level = ndimage.maximum_filter1d(tips, 2 * round(_LEVEL_MM / blocks.spacing_mm[2]) + 1, mode="nearest")
    level = np.where(level < 0, lung.shape[0], level + round(_FRONT_MM / blocks.spacing_mm[1]))
    return np.broadcast_to(rows > level[None, :], body.lungs.shape)


def _first(hit: np.ndarray) -> np.ndarray:
    """Distance in mm of the first step from which on two are true, float32."""
    both = hit[:, :-1] & hit[:, 1:]
    found = both.argmax(axis=1).astype(np.float32) * np.float32(_STEP_MM)
    return np.where(both.any(axis=1), found, np.float32(_REACH_MM))


def _polar(
    mask: np.ndarray, centre: tuple[float, float, float], blocks: BlockMeans
) -> tuple[np.ndarray, np.ndarray]:
    """Unit vector (n, 3) and distance (n,) in mm from the centre to each block of a mask."""
    gaps = [
        (place - middle) * step
        for place, middle, step in zip(np.nonzero(mask), centre, blocks.spacing_mm, strict=True)
    ]
    far = np.sqrt(gaps[0] * gaps[0] + gaps[1] * gaps[1] + gaps[2] * gaps[2])
    return np.stack(gaps, axis=1) / np.maximum(far, 1e-3)[:, None], far


def _stroke_depths(
    mask: np.ndarray, centre: tuple[float, float, float], blocks: BlockMeans
) -> tuple[np.ndarray, np.ndarray]:
    """Direction and distance in mm of each block of a mask."""
    unit, far = _polar(mask, centre, blocks)
    which = cKDTree(_directions()).query(unit)[1] if len(far) else np.zeros(0, np.intp)
    return which, far.astype(np.float32)


def fit_depths(rays: Rays, *, finding: np.ndarray | None = None, trust: float = 0.0) -> np.ndarray:
    """The smooth surface that fits the rays: float32 (COUNT,), mm.

    Args:
        finding: mm at which the surface was found by other means.
    """
    ordered = np.sort(rays.wall)
    surface = np.full(_COUNT, ordered[_COUNT // 3], np.float32)
    for _ in range(_ROUNDS):
        over = surface - rays.wall
        weight = np.where(
            over > 0, np.float32(2.0), np.where(over > -_BEYOND_MM, np.float32(_ALIKE), np.float32(0))
        )
        pull = np.float32(_STIFF) * _around(surface) + weight * rays.wall
        total = np.float32(_STIFF) + weight
        for bound, wrong in ((rays.least, surface < rays.least), (rays.most, surface > rays.most)):
            hard = np.where(wrong, np.float32(4.0), np.float32(0))
            pull, total = pull + hard * bound, total + hard
        if finding is not None:
            pull, total = pull + np.float32(trust) * finding, total + np.float32(trust)
        surface = pull / total
    return surface


def depth_of(surface: np.ndarray, rays: Rays, blocks: BlockMeans, where: np.ndarray) -> np.ndarray:
    """How far each block of ``where`` lies inside the surface, mm, negative outside; float32 blocks."""
    unit, far = _polar(where, rays.centre, blocks)
    apart, which = cKDTree(_directions()).query(unit, k=3)
    share = 1 / (apart + 0.02)
    radius = (share[:, 0] * surface[which[:, 0]] + share[:, 1] * surface[which[:, 1]]) + share[
        :, 2
    ] * surface[which[:, 2]]
    radius /= share[:, 0] + share[:, 1] + share[:, 2]
    out = np.full(where.shape, np.float32(-_REACH_MM))
    out[where] = (radius - far).astype(np.float32)
    return out


def best_radius(
    probability: np.ndarray, rays: Rays, blocks: BlockMeans, surface: np.ndarray, *, slack_mm: float
) -> np.ndarray:
    """Where in each direction the probability changes from heart to background; float32 mm.

    Args:
        probability: of heart; float32 blocks.
        surface: where it is expected.
        slack_mm: how far from there it may well be.
    """
    profile = np.clip(_along(probability, rays.centre, blocks), 0.02, 0.98) - np.float32(0.5)
    gain = np.cumsum(profile, axis=1)
    steps = np.arange(gain.shape[1], dtype=np.float32) * np.float32(_STEP_MM)
    away = (steps[None, :] - surface[:, None]) / np.float32(slack_mm)
    best = (gain - np.float32(0.5) * away * away).argmax(axis=1)
    return best.astype(np.float32) * np.float32(_STEP_MM) + np.float32(_STEP_MM / 2)
