"""Which voxels of a scan a stroke covers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from coronet.io.volume import Volume

if TYPE_CHECKING:
    from coronet.annotation.strokes import Stroke


def leaves_scan(stroke: Stroke, volume: Volume) -> bool:
    """Whether a point lies farther outside the scan than its radius; for a box, whether all of it does."""
    places = _transform(np.linalg.inv(volume.affine), np.asarray(stroke.points_mm, np.float64))
    rim = 0.5 + 1e-6 + stroke.radius_mm / np.asarray(volume.spacing_mm)
    low, high = -rim, np.asarray(volume.shape) - 1 + rim
    if stroke.kind == "box":
        return bool(((places.max(axis=0) < low) | (places.min(axis=0) > high)).any())
    return bool(((places < low) | (places > high)).any())


def covered_voxels(stroke: Stroke, volume: Volume) -> np.ndarray:
    """Flat indices of the voxels under one stroke, sorted."""
    to_index = np.linalg.inv(volume.affine)
    points = np.asarray(stroke.points_mm, np.float64)
    if stroke.kind == "box":
        low, high = points.min(axis=0), points.max(axis=0)
        corners = np.array(np.meshgrid(*zip(low, high, strict=True), indexing="ij")).reshape(3, -1).T
        index, centres = _voxels_around(corners, 0.0, volume, to_index)
        inside = ((centres >= low - 1e-6) & (centres <= high + 1e-6)).all(axis=1)
        return np.unique(_flat(index[inside], volume.shape))
    found = []
    for start, end in zip(points, points[1:] if len(points) > 1 else points, strict=False):
        index, centres = _voxels_around(np.stack([start, end]), stroke.radius_mm, volume, to_index)
        along, length = end - start, float(((end - start) ** 2).sum())
        share = np.clip(_dot(centres - start, along) / length, 0.0, 1.0) if length else np.zeros(len(centres))
        gap = centres - (start + share[:, None] * along)
        found.append(_flat(index[_dot(gap, gap) <= stroke.radius_mm**2 + 1e-6], volume.shape))
        steps = max(1, math.ceil(2 * math.sqrt(length) / min(volume.spacing_mm)))
        passed = start + np.linspace(0, 1, steps + 1)[:, None] * along
        nearest = np.rint(_transform(to_index, passed)).astype(np.int64)
        within = ((nearest >= 0) & (nearest < volume.shape)).all(axis=1)
        found.append(_flat(nearest[within], volume.shape))
    return np.unique(np.concatenate(found))


def _voxels_around(
    points: np.ndarray, margin_mm: float, volume: Volume, to_index: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Indices (n, 3) and centres in mm of the voxels in the box around ``points``, widened."""
    places = _transform(to_index, points)
    wide = margin_mm / np.asarray(volume.spacing_mm)
    low = np.maximum(np.floor(places.min(axis=0) - wide), 0).astype(int)
    high = np.minimum(np.ceil(places.max(axis=0) + wide) + 1, volume.shape).astype(int)
    grid = np.meshgrid(*(np.arange(a, max(a, b)) for a, b in zip(low, high, strict=True)), indexing="ij")
    index = np.stack([axis.ravel() for axis in grid], axis=1)
    return index, _transform(np.asarray(volume.affine), index.astype(np.float64))


def _transform(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Affine map of points (n, 3), as sums in a fixed order."""
    return np.stack([_dot(points, affine[row, :3]) + affine[row, 3] for row in range(3)], axis=1)


def _dot(vectors: np.ndarray, others: np.ndarray) -> np.ndarray:
    return vectors[:, 0] * others[..., 0] + vectors[:, 1] * others[..., 1] + vectors[:, 2] * others[..., 2]


def _flat(index: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.ravel_multi_index(tuple(index.T), shape)
