"""On which side of the chest a heart lies: a scan that was mirrored shows it on the right."""

from __future__ import annotations

import numpy as np

from coronet.dataset.chest_view import ChestView
from coronet.io.volume import LUNG_HU

_MOST_RIGHT_MM = 5.0
"""Real hearts have -43 to -12 and the same scans mirrored 12 to 37; phantoms -29 to -9 and 14 to 23."""
_BONE_HU = 150.0
_SPINE_MM = 50.0  # from the middle of the lungs
_BEFORE_MM = 10.0  # the spine may reach so far in front of the heart's back
_LEAST_SPINE_ML = 1.0
_SLANT = 0.5  # weight of the axis beside the place: where one of them tells little, the other decides


def side_fault(heart: np.ndarray, chest: ChestView) -> str:
    """The reason in words where a heart lies on the right; empty elsewhere.

    Args:
        heart: boolean, shape (x, y, z) of ``chest``, not empty.
        chest: coarse view of the same scan.
    """
    right = rightward_mm(heart, chest)
    if right is None or right <= _MOST_RIGHT_MM:
        return ""
    return "the heart lies on the right: mirrored, or situs inversus"


def rightward_mm(heart: np.ndarray, chest: ChestView) -> float | None:
    """How far to the right a heart lies and points, in mm; negative on the left, where nearly all do.

    A heart's centre lies left of the body's middle, and its axis leads from behind, above and the right to in
    front, below and the left. The answer is the distance of the centre from the middle of lungs, trunk and
    spine, the median of the three, and half of what the lowest third of the heart lies farther right than
    the highest, and the foremost third than the hindmost. Any one of these may be small in a heart, or wrong
    where a lung holds no air or the field of view cuts the trunk.

    Args:
        heart: boolean, shape (x, y, z) of ``chest``.
        chest: coarse view of the same scan, RAS+, so that x rises to the patient's right.

    Returns:
        None where no lung is at the heart's height.
    """
    from scipy.ndimage import binary_opening

    step = chest.spacing_mm[0]
    slices = heart.any(axis=(0, 1))
    lungs = _middle(chest.lung[:, :, slices])
    place = np.argwhere(heart) * np.asarray(chest.spacing_mm)
    if lungs is None or len(place) < 3:
        return None
    trunk = _middle(binary_opening(chest.hu[:, :, slices] > LUNG_HU, iterations=2))
    spine = _spine(heart, chest, lungs)
    middles = sorted(item for item in (lungs, trunk, spine) if item is not None)
    # of two, the one farther right: it speaks for a heart on the left
    offset = place[:, 0].mean() - middles[len(middles) // 2] * step
    return float(offset + _SLANT * (_rise_mm(place, 1) - _rise_mm(place, 2)))


def _middle(mask: np.ndarray) -> float | None:
    """Index along x halfway between the first and the last plane of a mask (x, y, z); None if it is empty."""
    columns = np.flatnonzero(mask.any(axis=(1, 2)))
    return float(columns[0] + columns[-1]) / 2 if columns.size else None


def _rise_mm(place: np.ndarray, axis: int) -> float:
    """How much farther right the last third along an axis lies than the first."""
    ordered = place[np.argsort(place[:, axis], kind="stable"), 0]
    third = len(ordered) // 3
    return float(ordered[-third:].mean() - ordered[:third].mean())


def _spine(heart: np.ndarray, chest: ChestView, middle: float) -> float | None:
    """Index along x of the spine: bone behind the heart, near ``middle``; None where there is too little."""
    step = chest.spacing_mm
    back = int(np.flatnonzero(heart.any(axis=(0, 2)))[0] + _BEFORE_MM / step[1])
    left = max(int(middle - _SPINE_MM / step[0]), 0)
    right = int(middle + _SPINE_MM / step[0]) + 1
    bone = (chest.hu[left:right, :back] > _BONE_HU) & heart.any(axis=(0, 1))
    found = np.nonzero(bone)[0]
    if found.size * np.prod(step) / 1000 < _LEAST_SPINE_ML:
        return None
    return float(np.median(found) + left)
