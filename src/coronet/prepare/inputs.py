"""What the two networks see of a scan; training and prediction both go through here."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from coronet.cohort.volume import AIR_HU, Volume
from coronet.config import InputParams
from coronet.errors import InputError
from coronet.prepare.geometry import (
    Grid,
    box_grid,
    centred_grid,
    clean_hu,
    grid_of,
    margin_voxels,
    mask_box,
    regrid,
    widen,
)

CALCIUM_HU = 130
"""Voxels below this are no calcium, by the definition of the Agatston score."""


@dataclasses.dataclass(frozen=True)
class NetworkInput:
    """A scan, or the part of it around the heart, on a network's grid.

    Attributes:
        hu: int16, shape (x, y, z); air where the network must not look.
        region: boolean, same shape: where the network may answer; None means everywhere.
        grid: where the voxels lie.
        distance_mm: float32, same shape: how far outside of the heart a voxel lies, 0 inside; None unless
            asked for.
    """

    hu: np.ndarray
    region: np.ndarray | None
    grid: Grid
    distance_mm: np.ndarray | None = None


def heart_input(ct: Volume, params: InputParams) -> NetworkInput:
    """The whole scan at ``params.spacing_mm``, anti-aliased; padding is air.

    Args:
        ct: HU, shape (x, y, z), RAS+.
        params: the heart model's input.
    """
    grid = centred_grid(grid_of(ct), params.spacing_mm)
    return NetworkInput(_hu(ct, grid), None, grid)


def calcium_input(
    ct: Volume, heart: np.ndarray, params: InputParams, *, measured: bool = False
) -> NetworkInput:
    """The scan within ``params.margin_mm`` of the heart at ``params.spacing_mm``; everything else is air.

    Air outside of the widened heart keeps ribs, spine and hilum from the network, and shows it how far the
    heart's surface is.

    Args:
        ct: HU, shape (x, y, z), RAS+.
        heart: boolean, same shape.
        params: the calcium model's input.
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


def target(mask: np.ndarray, ct: Volume, grid: Grid, *, model: str) -> np.ndarray:
    """What the network should answer on ``grid``: 0 … 255 for 0 … 1.

    The heart's target is the fraction of each voxel that the mask fills, so that its surface can be found
    again between voxels. A calcification is often thinner than a voxel of the grid; a voxel that it fills to
    a third counts as all calcium, lest thin ones could never be found.

    Args:
        mask: any value above 0 counts, shape of ``ct``.
        ct: the scan the mask belongs to.
        grid: the network's grid.
        model: ``heart`` or ``calcium``.

    Returns:
        uint8 of the grid's shape.
    """
    fraction = regrid(Volume((mask > 0).astype(np.uint8), ct.affine), grid)
    if model == "calcium":
        fraction = 3 * fraction
    return np.rint(fraction.clip(0, 1) * 255).astype(np.uint8)
