"""Plaques in a real scan: what each adds to it, as the scanner would have shown it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from coronet.imaging.filters import gaussian_taps, in_plane
from coronet.io.volume import Volume
from coronet.phantom.deposits import Deposit, share_of_voxels
from coronet.phantom.scanner import Scanned, Trace
from coronet.real_backgrounds.point_spread import PointSpread

_TWELVE_BITS_HU = 3071
_CALM_MM = 1.2  # standard deviation of the smoothing in plane that takes noise out of the tissue replaced


def add_plaques(
    ct: Volume, deposits: Sequence[Deposit], spread: PointSpread, *, thickness_mm: float
) -> Scanned:
    """Draw deposits into a scan.

    A deposit replaces the share of a voxel that it fills, counted in subvoxels after motion and slice
    profile; the difference to the tissue there, without its noise, is blurred by the scan's point spread and
    added. The scan's noise stays, and so do all voxels to which less than half a HU comes.

    Args:
        ct: HU as int16, axis-aligned, with square pixels.
        thickness_mm: width of the rectangular slice profile.

    Returns:
        The scan, and what each deposit adds to it; `coronet.phantom.exact_masks` makes the mask of it.
    """
    pixel = ct.spacing_mm[0]
    taps = spread.taps(pixel)
    calming = gaussian_taps(_CALM_MM / pixel)
    traces = []
    total = np.zeros(ct.shape, np.float32, order="F")
    for deposit in deposits:
        share = share_of_voxels(deposit, ct.affine, ct.shape, thickness_mm=thickness_mm, margin=len(taps))
        if share is None:
            continue
        calm = _calm(ct.array, share.box, calming)
        added = in_plane(share.substance - share.filled * calm, taps)
        total[share.box] += added
        traces.append(Trace(deposit, share.box, added, calm))
    for trace in traces:
        trace.clean[...] += total[trace.box]
    highest = max(int(ct.array.max()), _TWELVE_BITS_HU)
    seen = np.clip(np.rint(ct.array + total), ct.array.min(), highest).astype(np.int16)
    return Scanned(ct.with_array(np.asfortranarray(seen)), tuple(traces))


def _calm(hu: np.ndarray, box: tuple[slice, slice, slice], taps: tuple[float, ...]) -> np.ndarray:
    """The scan in a box, smoothed in plane, float32."""
    reach = len(taps) - 1
    wide, inner = [], []
    for side, size in zip(box[:2], hu.shape[:2], strict=True):
        start, stop = max(side.start - reach, 0), min(side.stop + reach, size)
        wide.append(slice(start, stop))
        inner.append(slice(side.start - start, side.stop - start))
    part = hu[wide[0], wide[1], box[2]].astype(np.float32)
    return in_plane(part, taps)[inner[0], inner[1]].copy()
