"""A coarse picture of a chest around the centre of its lungs, the same however the scan was sampled."""

from __future__ import annotations

import numpy as np

from coronet.io.volume import AIR_HU, Volume

_CELL_MM = 6.0
CELLS = (60, 48, 48)
"""Cells of a picture along (x, y, z): 360 × 288 × 288 mm."""
_SAMPLE_MM = 3.0
AIR_BELOW_HU = -500
_LEAST_LUNG_SHARE = 0.01


def chest_signature(volume: Volume) -> np.ndarray:
    """Average ``volume`` (HU, any spacing and orientation) into ``CELLS`` cells, float16."""
    values, positions = _sample(volume)
    centre = _centre(values, positions)
    values = values.ravel()
    index = [
        np.floor((positions[axis] - centre[axis]) / _CELL_MM + CELLS[axis] / 2).astype(np.int64)
        for axis in range(3)
    ]
    inside = np.logical_and.reduce([(index[axis] >= 0) & (index[axis] < CELLS[axis]) for axis in range(3)])
    flat = np.ravel_multi_index([axis[inside] for axis in index], CELLS)
    size = int(np.prod(CELLS))
    count = np.bincount(flat, minlength=size)
    total = np.bincount(flat, weights=values[inside], minlength=size)
    mean = np.divide(total, count, out=np.full(size, np.nan), where=count > 0).reshape(CELLS)
    return _filled(mean).astype(np.float16)


def _sample(volume: Volume) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Voxels about ``_SAMPLE_MM`` apart, and their places in mm along each axis, flat."""
    steps = [max(1, round(_SAMPLE_MM / spacing)) for spacing in volume.spacing_mm]
    values = volume.array[:: steps[0], :: steps[1], :: steps[2]].astype(np.float32)
    grids = np.meshgrid(
        *(np.arange(0, size, step, dtype=np.float32) for size, step in zip(volume.shape, steps, strict=True)),
        indexing="ij",
        sparse=True,
    )
    affine = np.asarray(volume.affine, np.float32)
    positions = tuple(
        np.broadcast_to(
            sum(affine[axis, index] * grid for index, grid in enumerate(grids)), values.shape
        ).ravel()
        for axis in range(3)
    )
    return np.maximum(np.nan_to_num(values, nan=AIR_HU), AIR_HU), positions


def _centre(values: np.ndarray, positions: tuple[np.ndarray, ...]) -> list[float]:
    """Centre in mm of the air that no axial slice joins to its border, or of the body where there is none."""
    from scipy import ndimage

    air = values < AIR_BELOW_HU
    in_plane = np.zeros((3, 3, 3), bool)
    in_plane[:, 1, 1] = in_plane[1, :, 1] = True
    labels, count = ndimage.label(air, in_plane)
    outer = np.zeros(count + 1, bool)
    outer[0] = True
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        outer[edge] = True
    lungs = ~outer[labels]
    chosen = lungs if lungs.mean() > _LEAST_LUNG_SHARE else ~air
    weights = chosen.ravel().astype(np.float64)
    if not weights.any():
        weights[:] = 1
    return [float(np.average(place, weights=weights)) for place in positions]


def _filled(mean: np.ndarray) -> np.ndarray:
    """Give cells between thick slices the value of the nearest slice, and those out of view that of air."""
    empty = np.isnan(mean)
    seen = np.flatnonzero(~empty.all(axis=(0, 1)))
    if seen.size:
        for z in range(seen[0], seen[-1] + 1):
            nearest = seen[np.abs(seen - z).argmin()]
            mean[:, :, z] = np.where(empty[:, :, z], mean[:, :, nearest], mean[:, :, z])
    return np.nan_to_num(mean, nan=AIR_HU)
