"""Whether a heart mask can be the whole heart of its scan: at import, in validation and before a score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from coronet.dataset.chest_view import ChestView
from coronet.dataset.heart_shape import shape_fault
from coronet.dataset.heart_side import side_fault
from coronet.dataset.mask_pieces import box_around
from coronet.imaging.resampling import IndexBox
from coronet.io.volume import AIR_HU, LUNG_HU, Volume

INCOMPLETE = "incomplete"
HEART_SIZE = "heart_size"
HEART_SHAPE = "heart_shape"
HEART_PLACE = "heart_place"
HEART_SIDE = "heart_side"
HEART_FLAGS = (INCOMPLETE, HEART_SIZE, HEART_SHAPE, HEART_PLACE, HEART_SIDE)
"""Flags that a heart mask decides on."""
_HEART_ML = (250.0, 1600.0)
_CUT_SHARES = (0.15, 0.3)
"""Of the largest cross-section, at the scan's end, and so far inside of it as a mask may end before it.

Beyond a plane with 0.15 of it lies under 1 % of an ellipsoid; 5 mm farther in, an ellipsoid of a heart's size
has 0.3.
"""
_LEAST_CUT_ML = 50.0  # a smaller mask that touches the border is no sign of a heart that is cut
_SMALL = " (it is not whole in view, or nothing sets it apart, such as beside lungs that hold no air)"
_EXTENT_MM = (70.0, 220.0)  # along each axis; whole hearts of the scans at hand measure 90 to 150 mm
_LEAST_BETWEEN_LUNGS = 0.4  # share of a heart with lung on both sides in its row; 0.86 and more in whole ones
_MOST_LUNG = 0.1  # share of a heart below `LUNG_HU`
_SIDES = (
    ("the left edge of the scan's field of view", "the right edge of the scan's field of view"),
    ("the back edge of the scan's field of view", "the front edge of the scan's field of view"),
    ("the lowest slice", "the highest slice"),
)
"""First and last plane along x, y and z in RAS+."""


def cut_sides(
    heart: np.ndarray, ct: Volume, near_mm: Sequence[float] = (0, 0, 0), *, box: IndexBox | None = None
) -> tuple[str, ...]:
    """The sides of the scan that cut a heart mask, in words.

    A mask that reaches a side with no more than its tip is whole.

    Planes at the border of a volume that hold nothing but air are padding, and a scanner leaves the corners
    outside of its circle empty; the scan ends where they begin.

    Args:
        heart: boolean, shape (x, y, z) of ``ct``, not empty.
        ct: HU, RAS+; padding is air, as `coronet.io.reader.read_scan` leaves it.
        near_mm: a mask that ends no farther than this from a side touches it, along (x, y, z).
        box: `box_around` of the mask, where it is known.
    """
    found, box = [], box or box_around(heart)
    for axis, words in enumerate(_SIDES):
        planes = np.moveaxis(ct.array, axis, 0)
        area = np.count_nonzero(heart, axis=tuple({0, 1, 2} - {axis}))
        near = int(near_mm[axis] / ct.spacing_mm[axis] + 1e-6)
        if _is_cut(area, planes, box[axis].start, near):
            found.append(words[0])
        if _is_cut(area[::-1], planes[::-1], len(planes) - box[axis].stop, near):
            found.append(words[1])
    return tuple(found) or (("the edge of the reconstructed circle",) if _leaves_circle(heart, ct) else ())


def _is_cut(area: np.ndarray, planes: np.ndarray, start: int, near: int) -> bool:
    """Whether the scan ends in a mask before its first plane.

    Args:
        area: of the mask in each plane, shape (planes,).
        planes: of the scan, HU, shape (planes, a, b).
        start: first plane of the mask.
        near: so many planes it may end before the scan does.
    """
    touched = max(start - near, 0)
    if any((planes[index] > AIR_HU).any() for index in range(touched)):
        return False
    end = next((index for index in range(touched, len(planes)) if (planes[index] > AIR_HU).any()), start)
    share = area[min(end + near, len(planes) - 1)] / area.max()
    return bool(share >= _CUT_SHARES[near > 0])


def _leaves_circle(heart: np.ndarray, ct: Volume) -> bool:
    """Whether pixels beside the heart's outline hold nothing but air in all slices."""
    from scipy.ndimage import binary_dilation

    outline = heart.any(axis=2)
    beside = binary_dilation(outline) & ~outline
    return bool((ct.array[beside] <= AIR_HU).all(axis=1).any())


def check_heart(
    heart: np.ndarray, ct: Volume, chest: ChestView | None, near_mm: Sequence[float] = (0, 0, 0)
) -> Mapping[str, str]:
    """Why a mask cannot be the whole heart of its scan; empty where it can, and for an empty mask.

    Args:
        heart: boolean, shape (x, y, z) of ``ct``.
        ct: HU, RAS+.
        chest: of the same scan, as `coronet.dataset.quality_flags.examine_scan` finds it.
        near_mm: see `cut_sides`.

    Returns:
        At most one of `HEART_FLAGS` and its reason in words: a heart that is cut is often too small as well,
        but that it is cut is the reason.
    """
    ml = np.count_nonzero(heart) * ct.voxel_mm3 / 1000
    if not ml:
        return {}
    box = box_around(heart)
    sides = cut_sides(heart, ct, near_mm, box=box)
    if sides and ml >= _LEAST_CUT_ML:
        return {INCOMPLETE: f"the heart reaches {' and '.join(sides)}, so part of it may be missing"}
    if fault := _size_fault(ml, box, ct):
        return {HEART_SIZE: fault}
    if chest is None or not (coarse := _on_chest(heart, ct, chest)).any():
        return {}
    # a network's mask alone may end before the scan does
    if fault := shape_fault(coarse, chest.spacing_mm, predicted=any(near_mm)):
        return {HEART_SHAPE: fault}
    if fault := _place_fault(coarse, chest):
        return {HEART_PLACE: fault}
    if fault := side_fault(coarse, chest):
        return {HEART_SIDE: fault}
    return {}


def _size_fault(ml: float, box: IndexBox, ct: Volume) -> str:
    low, high = _HEART_ML
    if not low <= ml <= high:
        return (
            f"the heart measures {ml:.0f} ml; {low:g} to {high:g} are plausible{_SMALL if ml < low else ''}"
        )
    low, high = _EXTENT_MM
    for side, spacing, name in zip(box, ct.spacing_mm, ("wide", "deep", "high"), strict=True):
        extent = (side.stop - side.start) * spacing
        if not low <= extent <= high:
            return f"the heart is {extent:.0f} mm {name}; {low:g} to {high:g} are plausible"
    return ""


def _on_chest(heart: np.ndarray, ct: Volume, chest: ChestView) -> np.ndarray:
    """A heart mask at the centres of the voxels of the coarse chest."""
    centres = [
        ((np.arange(size) + 0.5) * coarse / fine).astype(int).clip(0, count - 1)
        for size, coarse, fine, count in zip(
            chest.hu.shape, chest.spacing_mm, ct.spacing_mm, heart.shape, strict=True
        )
    ]
    return heart[np.ix_(*centres)]


def _place_fault(heart: np.ndarray, chest: ChestView) -> str:
    lung = float((chest.hu[heart] < LUNG_HU).mean())
    if lung > _MOST_LUNG:
        return f"{lung:.0%} of the heart mask is lung or air"
    between = float(chest.between[heart].mean())
    if between < _LEAST_BETWEEN_LUNGS:
        return f"only {between:.0%} of the heart mask has lung that holds air on both sides"
    return ""
