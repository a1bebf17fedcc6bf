"""Candidates of calcium: the bright pieces in and around a heart."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from coronet.annotation.candidate_features import (
    FEATURES,
    BrightComponents,
    HeartSurroundings,
    component_features,
    sort_components,
)
from coronet.errors import InputError
from coronet.imaging.resampling import IndexBox, mask_slices
from coronet.io.volume import CALCIUM_HU, Volume

MARGIN_MM = 8.0  # how far from the heart mask pieces are searched: its surface may be a few millimetres off
_VIEW_MM = 16.0  # how far around the heart the surroundings of pieces are described
LEAST_VOXELS = 3  # smaller pieces cannot be distinguished from noise
_COARSE_MM = 2.0  # distances are measured on about this grid


@dataclasses.dataclass(frozen=True)
class Candidates:
    """The bright pieces of one scan."""

    box: IndexBox  # the part of the scan that ``labels`` covers
    labels: np.ndarray  # int32, shape of ``box``; 0, or the number of a piece from 1
    features: np.ndarray  # int16, shape (pieces, `FEATURES`)
    volume_mm3: np.ndarray
    centre_mm: np.ndarray  # (pieces, 3), mean position, RAS+
    cut: np.ndarray  # bool, of each piece: it goes on beyond the margin, as bones do

    @property
    def count(self) -> int:
        """How many pieces there are."""
        return len(self.features)

    def feature(self, name: str) -> np.ndarray:
        """One feature of all pieces."""
        return self.features[:, FEATURES.index(name)]


def find_candidates(ct: Volume, heart: np.ndarray, *, margin_mm: float = MARGIN_MM) -> Candidates:
    """Find the pieces at or above 130 HU in and around a heart.

    A piece is connected by faces, edges or corners and has at least `LEAST_VOXELS` voxels; it ends where the
    heart is further away than ``margin_mm``. The same scan and heart mask give the same numbers.

    Args:
        ct: HU, RAS+.
        heart: mask, shape of ``ct``; anything but 0 is heart.
        margin_mm: how far outside the mask pieces are searched.

    Raises:
        InputError: mask and scan differ in shape, or the mask is empty.
    """
    import cc3d

    if heart.shape != ct.shape:
        raise InputError(f"The heart mask has shape {heart.shape} and the scan {ct.shape}.")
    box = mask_slices(heart, [math.ceil(_VIEW_MM / step) for step in ct.spacing_mm])
    if box is None:
        raise InputError("The heart mask is empty; `coronet annotate draw CASE --target heart` draws one.")
    hu = np.ascontiguousarray(ct.array[box])
    hu = hu if hu.dtype == np.int16 else np.clip(np.rint(hu), -32768, 32767).astype(np.int16)
    steps = tuple(max(1, math.floor(_COARSE_MM / step)) for step in ct.spacing_mm)
    view = HeartSurroundings(hu, heart[box] > 0, ct.spacing_mm, margin_mm, steps)
    dense = hu >= CALCIUM_HU
    fine = np.ix_(*(np.arange(size) // step for size, step in zip(hu.shape, steps, strict=True)))
    bright = dense & (view.outside_mm[fine] <= margin_mm)
    parts = cc3d.connected_components(bright, connectivity=26, out_dtype=np.uint32)
    counts = np.bincount(parts.ravel())
    counts[0] = 0
    kept = counts >= LEAST_VOXELS
    number = np.where(kept, np.cumsum(kept), 0).astype(np.int32)
    labels = number[parts]
    if not kept.any():
        empty = np.zeros((0, len(FEATURES)), np.int16)
        return Candidates(box, labels, empty, np.zeros(0), np.zeros((0, 3)), np.zeros(0, bool))
    pieces = sort_components(labels, hu)
    features, centre = component_features(pieces, view)
    origin = np.asarray([side.start for side in box], np.float64)
    affine = np.asarray(ct.affine, np.float64)
    world = sum(affine[:3, axis] * (centre + origin)[:, axis : axis + 1] for axis in range(3)) + affine[:3, 3]
    volume = pieces.counts * (ct.spacing_mm[0] * ct.spacing_mm[1] * ct.spacing_mm[2])
    columns = [np.clip(np.rint(features[name]), -32768, 32767).astype(np.int16) for name in FEATURES]
    cut = _cut(pieces, dense & ~bright)
    return Candidates(box, labels, np.stack(columns, axis=1), volume, world, cut)


def _cut(pieces: BrightComponents, beyond: np.ndarray) -> np.ndarray:
    """Which pieces have a face in common with bright voxels ``beyond`` the margin: bool (pieces,)."""
    touching = np.zeros(len(pieces.place), bool)
    for axis, size in enumerate(beyond.shape):
        for step in (-1, 1):
            place = pieces.place.copy()
            place[:, axis] = np.clip(place[:, axis] + step, 0, size - 1)
            touching |= beyond[tuple(place.T)]
    return pieces.most(touching)
