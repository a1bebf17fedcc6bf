"""A label volume brought onto the voxels of a scan, and whether it can be what it says by place and HU."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from coronet.errors import InputError
from coronet.io.volume import CALCIUM_HU, LUNG_HU, Volume, corner_indices

_OFF_GRID = 0.05  # fraction of a voxel by which a mask's grid may miss the scan's, at the scan's far corner

_MOST_OUTSIDE = 0.5  # a mask with more of its voxels than this outside the scan belongs to another one

_MOST_AIR = 0.1
_MOST_FAINT = 0.5
"""Masks drawn by hand around calcium hold up to a third of rim below 130 HU; those beside it hold more."""


@dataclasses.dataclass(frozen=True)
class PlacedLabels:
    """Labels on the voxels of a scan."""

    labels: np.ndarray  # uint8, the shape of the scan
    before_mm3: float  # volume of all labels above 0 in the file
    outside_mm3: float  # how much of it lies outside the scan
    resampled: bool = False  # whether the file has voxels of its own
    pieces: int = 0  # connected pieces of the labels that reach into the scan; counted where resampled
    lost: int = 0  # how many of them hold no voxel centre of the scan and so vanish


def place_labels(mask: Volume, grid: Volume, path: Path, *, resample: bool) -> PlacedLabels:
    """Bring labels onto the grid of a scan.

    Args:
        mask: uint8 labels in RAS+.
        grid: the scan.
        path: of the mask, for errors.
        resample: allow another grid, by nearest neighbour.

    Raises:
        InputError: the mask lies on another grid and may not be resampled, lies outside the scan, has the
            scan's size but another place, or vanishes when it is resampled.
    """
    to_mask = np.linalg.inv(mask.affine) @ grid.affine
    offset = np.rint(to_mask[:3, 3]).astype(int)
    corners = corner_indices(grid.shape)
    turned = float(np.abs(to_mask[:3, :3] @ corners - corners).max())
    missed = float(np.abs(to_mask[:3, :3] @ corners + to_mask[:3, 3:] - (corners + offset[:, None])).max())
    if mask.shape == grid.shape and turned > _OFF_GRID and _is_unplaced(mask) and not _is_unplaced(grid):
        raise InputError(
            f"{path}: the mask has as many voxels as the scan, but its header gives no place (1 × 1 × 1 mm, "
            "origin 0). Write it again with the spacing, directions and origin of its scan."
        )
    marked = np.count_nonzero(mask.array)
    before = marked * mask.voxel_mm3
    if missed <= _OFF_GRID:
        labels = _paste(mask.array, grid.shape, offset)
        # Voxels are counted, since those of the two files may differ in the last digit.
        placed = PlacedLabels(labels, before, (marked - np.count_nonzero(labels)) * mask.voxel_mm3)
    elif resample:
        placed = _resample(mask, grid, to_mask)
    else:
        _check_same_size(mask, grid, to_mask, path, turned=turned)
        raise InputError(
            f"{path}: the mask lies on another grid than the scan (spacing {_mm(mask)} against {_mm(grid)} "
            f"mm, off by up to {missed:.1f} voxels). Give the scan's own mask, or allow resampling "
            "(--resample-mask; of `coronet data import`, --resample-masks)."
        )
    if before > 0 and placed.outside_mm3 > _MOST_OUTSIDE * before:
        raise InputError(
            f"{path}: {100 * placed.outside_mm3 / before:.0f} % of the mask lies outside the scan; "
            "it belongs to another one."
        )
    _check_same_size(mask, grid, to_mask, path, turned=turned)
    if placed.pieces and placed.lost == placed.pieces:
        raise InputError(
            f"{path}: the mask of {before:.3g} mm³ vanishes when it is resampled: none of its "
            f"{placed.pieces} pieces holds the centre of a voxel of the scan. Draw it on the scan's voxels."
        )
    return placed


def _check_same_size(mask: Volume, grid: Volume, to_mask: np.ndarray, path: Path, *, turned: float) -> None:
    """Refuse a mask with as many voxels as the scan that lies beside it: one of the positions is wrong."""
    same = np.equal(mask.shape, grid.shape)
    shift = to_mask[:3, 3]
    if turned <= _OFF_GRID and (same & (np.abs(shift) >= 1 - _OFF_GRID)).any():
        # The scan's first voxel has the index `shift` in the mask.
        by = ", ".join(
            f"{-value:+.4g} voxels along {axis}"
            for value, axis in zip(shift, "xyz", strict=True)
            if abs(value) > 0.01
        )
        raise InputError(
            f"{path}: the mask lies on another grid than the scan. It has as many voxels "
            f"({_count(mask)}; the scan has {_count(grid)}), so it was not cropped, but begins {by} from "
            "where the scan begins. It belongs to another scan, or one of the two states a wrong position: "
            "write it again with the origin of its scan."
        )


def _is_unplaced(volume: Volume) -> bool:
    """Whether a volume has voxels of 1 mm, begins at the origin, and is turned only by quarters."""
    ends = volume.affine[:3, :3] @ corner_indices(volume.shape)[:, [0, -1]] + volume.affine[:3, 3:]
    return np.allclose(np.abs(volume.affine[:3, :3]), np.eye(3), atol=1e-4) and bool(
        (np.abs(ends).min(axis=1) < 1e-3).all()
    )


def _paste(array: np.ndarray, shape: tuple[int, ...], offset: np.ndarray) -> np.ndarray:
    """Copy what both grids share; voxel i of the result is voxel i + offset of ``array``."""
    placed = np.zeros(shape, np.uint8)
    low = np.maximum(0, -offset)
    high = np.minimum(shape, np.asarray(array.shape) - offset)
    if (high > low).all():
        here = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        there = tuple(slice(a + o, b + o) for a, b, o in zip(low, high, offset, strict=True))
        placed[here] = array[there]
    return placed


def _resample(mask: Volume, grid: Volume, to_mask: np.ndarray) -> PlacedLabels:
    import cc3d
    from scipy.ndimage import affine_transform

    labels = affine_transform(
        mask.array, to_mask[:3, :3], to_mask[:3, 3], output_shape=grid.shape, order=0, mode="constant"
    )
    pieces, before = cc3d.connected_components((mask.array != 0).view(np.uint8), connectivity=26), 0
    within: set[int] = set()
    kept: set[int] = set()
    inside = 0
    to_grid = np.linalg.inv(to_mask)
    for index in _by_slice(mask.array):
        places = index @ to_grid[:3, :3].T + to_grid[:3, 3]
        held = ((places >= -0.5) & (places < np.asarray(grid.shape) - 0.5)).all(axis=1)
        before, inside = before + len(index), inside + int(held.sum())
        within.update(np.unique(pieces[tuple(index[held].T)]).tolist())
    for index in _by_slice(labels):
        sampled = np.floor(index @ to_mask[:3, :3].T + to_mask[:3, 3] + 0.5).astype(int)
        sampled = np.clip(sampled, 0, np.asarray(mask.shape) - 1)
        kept.update(np.unique(pieces[tuple(sampled.T)]).tolist())
    return PlacedLabels(
        labels,
        before_mm3=before * mask.voxel_mm3,
        outside_mm3=(before - inside) * mask.voxel_mm3,
        resampled=True,
        pieces=len(within),
        lost=len(within - kept),
    )


def _by_slice(labels: np.ndarray) -> Iterator[np.ndarray]:
    """Indices (n, 3) of the voxels above 0, slice by slice: all at once would fill gigabytes."""
    for depth in range(labels.shape[2]):
        place = np.argwhere(labels[:, :, depth])
        if place.size:
            yield np.column_stack([place, np.full(len(place), depth)])


def _count(volume: Volume) -> str:
    return " × ".join(map(str, volume.shape))


def _mm(volume: Volume) -> str:
    return " × ".join(f"{value:.3g}" for value in volume.spacing_mm)


def tissue_warnings(labels: np.ndarray, ct: Volume, target: str | None, path: Path) -> dict[str, str]:
    """Warnings from the HU under a mask.

    Args:
        labels: the mask, shape of ``ct``; anything but 0 belongs to it.
        ct: HU.
        target: ``heart`` or ``calcium``; None checks nothing.
        path: of the mask, for errors.

    Returns:
        A short key and a sentence without a full stop for each.

    Raises:
        InputError: the whole mask lies in air or lung.
    """
    if target is None:
        return {}
    hu = ct.array[labels != 0]
    if not hu.size:
        return {"mask_empty": f"the mask is empty: it marks no {target}"}
    with np.errstate(invalid="ignore"):
        air, faint = float((hu < LUNG_HU).mean()), float((hu < CALCIUM_HU).mean())
    if air == 1:
        raise InputError(
            f"{path}: the whole mask lies in air or lung (below {LUNG_HU:g} HU), where no {target} is. "
            "It was drawn on another scan, or one of the two states a wrong position."
        )
    warnings = {}
    if air > _MOST_AIR:
        warnings["mask_in_air"] = (
            f"{100 * air:.0f} % of the {target} mask lies in air or lung (below {LUNG_HU:g} HU); check that "
            "mask and scan belong together"
        )
    if target == "calcium" and faint > _MOST_FAINT:
        warnings["mask_below_130"] = (
            f"{100 * faint:.0f} % of the calcium mask is below {CALCIUM_HU:g} HU, which calcium is not; "
            "check that mask and scan belong together"
        )
    return warnings
