"""The point spread of a scan in plane, estimated from its own edges between lung and chest wall.

Where such a surface stands upright, a profile across it is the scanner's answer to a step. The profiles that
are clean on both sides are laid over each other, and the mean is compared with the answers of such kernels as
the phantom has: a Gaussian, sharpened or not.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from coronet.imaging.resampling import mask_box
from coronet.io.volume import Volume
from coronet.phantom.acquisition_protocols import SCANNER_KERNELS, Kernel
from coronet.phantom.scanner import WIDE_BLUR_MM, point_spread

_DEFAULT_MM = 0.6  # of a soft kernel, where neither edges nor the kernel's name say more
_MOST_SLICES = 24
_MOST_PROFILES = 6000
_LEAST_PROFILES = 30
_BEYOND_MM = 20.0  # how far below and above the heart edges are looked for
_REACH_MM, _STEP_MM = 5.0, 0.2  # of a profile to either side, and between its samples
_PLATEAU_MM = 2.5  # from here on a profile is flat
_LUNG_HU, _WALL_HU = (-935.0, -600.0), (0.0, 110.0)  # means of the plateaus; fat and outer air are neither
_TILT_MM = 0.3  # most that an edge may move within one slice's thickness
_SHARP_SHARE = 0.35  # of the clean profiles, the steepest count: others cross a slanted surface
_BEHIND_MM = 0.6  # how far behind the surface a profile is compared
_LEAST_UNDERSHOOT = 0.012  # share of the step by which lung beside it is darkened by an edge-enhancing kernel
_MOST_OVERSHOOT, _WIDEST_SHARP_MM = 2.0, 0.7
_FLAT_HU = 45.0  # most that a plateau may fall or rise, beside its noise
_HEART_MM = 8.0  # edges this near to the heart move


@dataclasses.dataclass(frozen=True)
class PointSpread:
    """A scan's blur in plane.

    Attributes:
        blur_mm: standard deviation of the Gaussian, without the pixel's own width.
        overshoot: strength of the edge enhancement, 0 for a soft kernel.
        origin: ``edges`` of the scan, the ``kernel`` that its facts name, or ``default``.
        profiles: how many were used.
    """

    blur_mm: float
    overshoot: float
    origin: str
    profiles: int = 0

    def taps(self, pixel_mm: float) -> tuple[float, ...]:
        """Half taps of the point spread along one in-plane axis."""
        return point_spread(Kernel("", self.blur_mm, self.overshoot, 0.0, 1.0), pixel_mm)


def estimate_point_spread(
    ct: Volume, heart: np.ndarray, *, thickness_mm: float, kernel: str = ""
) -> PointSpread:
    """The point spread of a scan, from its edges or else from its kernel's name.

    Args:
        ct: HU, axis-aligned, with square pixels.
        heart: boolean, shape of ``ct``; edges beside it move with it.
        thickness_mm: of a slice.
        kernel: as the scanner names it, or empty.
    """
    profiles = _profiles(ct, heart, thickness_mm)
    if len(profiles) >= _LEAST_PROFILES:
        blur, overshoot = _fit(profiles, ct.spacing_mm[0])
        return PointSpread(blur, overshoot, "edges", len(profiles))
    known = SCANNER_KERNELS.get(kernel)
    if known is not None:
        return PointSpread(known.blur_mm, known.overshoot, "kernel")
    return PointSpread(_DEFAULT_MM, 0.0, "default")


def _profiles(ct: Volume, heart: np.ndarray, thickness_mm: float) -> np.ndarray:
    """Profiles (n, samples) from lung (0) to chest wall (1), each centred on its middle."""
    box = mask_box(heart, np.asarray([0, 0, math.ceil(_BEYOND_MM / ct.spacing_mm[2])]))
    if box is None:
        return np.empty((0, 0))
    low, high = box
    slices = range(max(int(low[2]), 1), min(int(high[2]), ct.shape[2] - 1))
    slices = slices[:: max(1, math.ceil(len(slices) / _MOST_SLICES))]
    found = [
        _slice_profiles(ct, heart, k, thickness_mm, _MOST_PROFILES // max(len(slices), 1)) for k in slices
    ]
    rows = np.concatenate(found) if found else np.empty((0, 0))
    if len(rows) < _LEAST_PROFILES:
        return rows
    # the slope over the middle half of the rise, by regression, which noise moves least
    at = _offsets()
    middle = np.abs(at) <= 0.8
    slope = (rows[:, middle] * at[middle]).sum(axis=1) / (at[middle] ** 2).sum()
    return rows[slope >= np.quantile(slope, 1 - _SHARP_SHARE)]


def _offsets() -> np.ndarray:
    """Places of a centred profile's samples, in mm."""
    reach = _REACH_MM - 1.0
    return np.arange(-reach, reach + _STEP_MM / 2, _STEP_MM)


def _slice_profiles(ct: Volume, heart: np.ndarray, k: int, thickness_mm: float, most: int) -> np.ndarray:
    from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates, spline_filter

    pixel, gap = ct.spacing_mm[0], ct.spacing_mm[2]
    wide = 1.2 / pixel
    plane, below, above = (ct.array[:, :, i].astype(np.float32) for i in (k, k - 1, k + 1))
    calm = gaussian_filter(plane, wide)
    across = np.stack(np.gradient(calm, pixel))
    steep = np.sqrt((across**2).sum(axis=0))
    upward = (gaussian_filter(above, wide) - gaussian_filter(below, wide)) / (2 * gap)
    edge = (calm > -480) & (calm < -320) & (steep > 150)
    edge &= np.abs(upward) * thickness_mm < _TILT_MM * steep
    if heart[:, :, k].any():
        edge &= distance_transform_edt(~heart[:, :, k]) * pixel > _HEART_MM
    places = np.argwhere(edge)
    reach = math.ceil(_REACH_MM / pixel) + 1
    places = places[((places >= reach) & (places < np.asarray(plane.shape) - reach)).all(axis=1)]
    places = places[:: max(1, len(places) // most)]
    if not len(places):
        return np.empty((0, len(_offsets())))
    way = across[:, places[:, 0], places[:, 1]] / steep[places[:, 0], places[:, 1]]
    line = np.arange(-_REACH_MM, _REACH_MM + _STEP_MM / 2, _STEP_MM)
    at = places.T[:, :, None] + way[:, :, None] * line / pixel
    rows = map_coordinates(
        spline_filter(np.maximum(plane, -1024), order=3), at, order=3, prefilter=False, mode="nearest"
    )
    return _clean(rows, line)


def _clean(rows: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Profiles that are flat on both sides, scaled to 0..1 and centred."""
    left, right = line < -_PLATEAU_MM, line > _PLATEAU_MM
    dark, bright = rows[:, left].mean(axis=1), rows[:, right].mean(axis=1)
    half = (_PLATEAU_MM + _REACH_MM) / 2
    drift = np.maximum(
        *(
            np.abs(
                rows[:, side & (np.abs(line) < half)].mean(axis=1)
                - rows[:, side & (np.abs(line) >= half)].mean(axis=1)
            )
            for side in (left, right)
        )
    )
    good = (dark > _LUNG_HU[0]) & (dark < _LUNG_HU[1]) & (bright > _WALL_HU[0]) & (bright < _WALL_HU[1])
    good &= drift < _FLAT_HU
    out = []
    goal = _offsets()
    for row, low, high in zip(rows[good], dark[good], bright[good], strict=True):
        scaled = (row - low) / (high - low)
        crossings = np.flatnonzero((scaled[:-1] < 0.5) & (scaled[1:] >= 0.5))
        if len(crossings) != 1:
            continue
        i = int(crossings[0])
        middle = line[i] + _STEP_MM * (0.5 - scaled[i]) / (scaled[i + 1] - scaled[i])
        if abs(middle) <= 1.0:
            out.append(np.interp(goal + middle, line, scaled))
    return np.asarray(out).reshape(-1, len(goal))


def _fit(profiles: np.ndarray, pixel_mm: float) -> tuple[float, float]:
    """Blur and overshoot of the kernel whose answer to a step is nearest to the mean profile.

    The lung's side of the step decides: behind the surface of the chest wall muscle and fat alternate. Height
    and place of the step are fitted with it.
    """
    from scipy.special import ndtr

    at = _offsets()
    side = at <= _BEHIND_MM
    at, seen = at[side], profiles.mean(axis=0)[side]
    own = pixel_mm**2 / 12  # variance of the pixel's width, which deposits get by their partial volume
    sharp = float(seen.min()) < -_LEAST_UNDERSHOOT
    best = (math.inf, _DEFAULT_MM, 0.0)
    for shift in np.arange(-0.3, 0.31, 0.05):
        wide = ndtr((at - shift) / math.sqrt(WIDE_BLUR_MM**2 + own))
        for blur in np.arange(0.2, 1.5, 0.02):
            narrow = ndtr((at - shift) / math.sqrt(blur**2 + own))
            # seen = height · (narrow + strength · (narrow - wide))
            height, lift = _least_squares(narrow, narrow - wide, seen)
            strength = lift / height if height > 0.5 else math.inf
            if not sharp or blur >= _WIDEST_SHARP_MM or not 0 <= strength <= _MOST_OVERSHOOT:
                strength = 0.0
                height, lift = float((narrow * seen).sum() / (narrow**2).sum()), 0.0
            fault = float(((seen - height * narrow - lift * (narrow - wide)) ** 2).sum())
            if fault < best[0]:
                best = (fault, float(blur), strength)
    return round(best[1], 3), round(best[2], 3)


def _least_squares(first: np.ndarray, second: np.ndarray, goal: np.ndarray) -> tuple[float, float]:
    """Factors of two functions whose sum is nearest to a third."""
    a, b, c = float(first @ first), float(first @ second), float(second @ second)
    d, e = float(first @ goal), float(second @ goal)
    determinant = a * c - b * b
    if determinant < 1e-9:
        return d / a, 0.0
    return (c * d - b * e) / determinant, (a * e - b * d) / determinant
