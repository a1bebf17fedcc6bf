"""What the two networks see of a scan; training and prediction both go through here."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from coronet.config import InputParams
from coronet.errors import InputError
from coronet.imaging.resampling import (
    Grid,
    box_grid,
    centred_grid,
    clean_hu,
    crop_grid,
    grid_of,
    margin_voxels,
    mask_box,
    regrid,
    widen,
)
from coronet.io.volume import AIR_HU, Volume

_BODY_HU = -300  # above it lies tissue, below it air and lung
_TRUNK = 0.2  # planes with less than this share of the fullest plane's tissue lie outside of the trunk


@dataclasses.dataclass(frozen=True)
class NetworkInput:
    """A scan, or the part of it around the heart, on a network's grid."""

    hu: np.ndarray  # int16, shape (x, y, z); air where the network must not look
    region: np.ndarray | None  # boolean, same shape: where the network may answer; None means everywhere
    grid: Grid  # where the voxels lie
    # float32, same shape: how far outside of the heart a voxel lies, 0 inside; None unless asked for
    distance_mm: np.ndarray | None = None


def heart_input(ct: Volume, params: InputParams) -> NetworkInput:
    """The trunk over the whole length of the scan at ``params.spacing_mm``, anti-aliased; padding is air.

    A wide field of view shows much air and the table on both sides of the trunk. Cut off, the rest fits into
    one or two of the network's windows in place of eight.

    Args:
        ct: HU, shape (x, y, z), RAS+.
    """
    grid = centred_grid(grid_of(ct), params.spacing_mm)
    hu = _hu(ct, grid)
    low, high = zip(*(_trunk(hu, axis, least=params.shape[axis]) for axis in (0, 1)), strict=True)
    low, high = (*low, 0), (*high, hu.shape[2])
    return NetworkInput(hu[tuple(map(slice, low, high))], None, crop_grid(grid, low, high))


def _trunk(hu: np.ndarray, axis: int, *, least: int) -> tuple[int, int]:
    """First plane of the trunk along ``axis`` and the first behind it, ``least`` of them where there are.

    The plane with the most tissue is one of the trunk's. A table is thin and the skin curved, so that the
    planes of either hold little.
    """
    tissue = np.count_nonzero(hu > _BODY_HU, axis=tuple({0, 1, 2} - {axis}))
    planes = np.flatnonzero(tissue >= _TRUNK * tissue.max())
    length = max(int(planes[-1] - planes[0]) + 1, min(least, len(tissue)))
    first = int(planes[0] + planes[-1] + 1 - length) // 2
    first = min(max(first, 0), len(tissue) - length)
    return first, first + length


def calcium_input(
    ct: Volume, heart: np.ndarray, params: InputParams, *, measured: bool = False
) -> NetworkInput:
    """The scan within ``params.margin_mm`` of the heart at ``params.spacing_mm``; everything else is air.

    Air outside of the widened heart keeps ribs, spine and hilum from the network, and shows it how far the
    heart's surface is.

    Args:
        ct: HU, shape (x, y, z), RAS+.
        heart: boolean, same shape.
        measured: give the distance from the heart too, which takes longer than all the rest.

    Raises:
        InputError: the heart mask is empty.
    """
    box = mask_box(heart, margin_voxels(params.margin_mm, ct.spacing_mm))
    if box is None:
        raise InputError("the heart mask is empty, so there is no place to look for coronary calcium")
    grid = box_grid(grid_of(ct), *box, params.spacing_mm)
    inside = regrid(Volume(heart.astype(np.uint8), ct.affine), grid) >= 0.5
    if not inside.any():
        raise InputError("the heart mask vanishes at the network's resolution; it is no heart")
    region = widen(inside, params.margin_mm, params.spacing_mm)
    distance_mm = _distance_mm(inside, params.spacing_mm) if measured else None
    return NetworkInput(np.where(region, _hu(ct, grid), np.int16(AIR_HU)), region, grid, distance_mm)


def _distance_mm(inside: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    from scipy.ndimage import distance_transform_edt

    return distance_transform_edt(~inside, sampling=spacing_mm).astype(np.float32)


def _hu(ct: Volume, grid: Grid) -> np.ndarray:
    return np.rint(regrid(clean_hu(ct), grid, fill=AIR_HU)).clip(AIR_HU, 32767).astype(np.int16)


def network_target(mask: np.ndarray, ct: Volume, grid: Grid, *, model: str) -> np.ndarray:
    """What the network should answer on ``grid``: 0 … 255 for 0 … 1.

    The heart's target is the fraction of each voxel that the mask fills, so that its surface can be found
    again between voxels. A calcification is often thinner than a voxel of the grid; a voxel that it fills to
    a third counts as all calcium, lest thin ones could never be found.

    Args:
        mask: shape of ``ct``; any value above 0 counts.
        grid: the network's.

    Returns:
        uint8 of the grid's shape.
    """
    fraction = regrid(Volume((mask > 0).astype(np.uint8), ct.affine), grid)
    if model == "calcium":
        fraction = 3 * fraction
    return np.rint(fraction.clip(0, 1) * 255).astype(np.uint8)
