"""Lungs and the soft tissue between them, found on a coarse copy of a scan.

The limits were set on real scans of the kinds named beside them, with room on both sides; they are meant to
catch what is plainly wrong, not to grade scans.
"""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np

from coronet.io.volume import AIR_HU, Volume, triple

_COARSE_MM = 4.0
_BLOOD_HU = 90.0
"""Median of soft tissue between the lungs: 40-50 without contrast, above 100 late after it, 450 early."""
_LEAST_BLOOD_ML = 100.0
"""Of such tissue; 490 and more in whole chests. Less lies beside the spine, which is as bright."""
_FAT_HU, _MUSCLE_HU = -102.0, 44.0
"""Peaks of fat and muscle; real scans without contrast have -113 to -92 and 37 to 53."""
_SHIFTED_HU = (30.0, 45.0)  # each of them, and their mean, by at least so much and in the same direction
_PEAK_BINS = np.arange(-300.0, 301.0, 5.0)
_LEAST_PEAK = 0.1  # of the highest
_LEAST_AIR = 0.005
"""Fraction of voxels below -700 HU; 0.3 and more in every chest, also one cropped to the heart."""
_LEAST_BODY = 0.005
"""Fraction of voxels above -300 HU; a tenth in every patient, also in the widest field of view."""
_SOFT_HU = (-130.0, 170.0)
_LEAST_LUNG_ML = 100.0
_LEAST_BETWEEN_CM2 = 35.0
_LEAST_BETWEEN_MM = 40.0
_WIDE = 0.75  # fraction of the lungs' largest area from which a slice shows them at full width
_BROAD = 0.8  # fraction of the heart's usual area from which the topmost slice still shows heart


@dataclasses.dataclass(frozen=True)
class ChestView:
    """The coarse scan and what is found in it; arrays are (x, y, z), RAS+."""

    hu: np.ndarray  # float32
    lung: np.ndarray  # bool
    between: np.ndarray  # bool; soft tissue with lung on its right and its left, in front of the lungs' back
    spacing_mm: tuple[float, float, float]  # of these arrays

    @property
    def pixel_cm2(self) -> float:
        """Area of one coarse pixel in cm²."""
        return self.spacing_mm[0] * self.spacing_mm[1] / 100

    def has_heart(self) -> bool:
        """Whether two lungs have a heart's worth of soft tissue between them over a heart's length."""
        middle = self._middle()
        if middle is None:
            return False
        sides = self.lung[:middle].sum(), self.lung[middle:].sum()
        if min(sides) * math.prod(self.spacing_mm) / 1000 < _LEAST_LUNG_ML:
            return False
        runs = (len(list(run)) for present, run in itertools.groupby(self._heart_slices()) if present)
        return max(runs, default=0) * self.spacing_mm[2] >= _LEAST_BETWEEN_MM

    def is_bright(self) -> bool:
        """Whether the blood between the lungs is brighter than blood without contrast can be."""
        core = _eroded(self.between & (self.hu > -20), axes=3)
        core &= self._heart_slices()
        values = self.hu[core]
        enough = values.size * math.prod(self.spacing_mm) / 1000 >= _LEAST_BLOOD_ML
        return enough and float(np.median(values)) > _BLOOD_HU

    def is_shifted(self) -> bool:
        """Whether fat and muscle are too bright or too dark by about as much, as where an offset is wrong."""
        peaks = _peaks(self.hu)
        if len(peaks) < 2:
            return False
        # of more peaks, that which speaks least for a shift
        for sign, muscle in ((1, peaks[1]), (-1, peaks[-1])):
            shifts = sign * (peaks[0] - _FAT_HU), sign * (muscle - _MUSCLE_HU)
            if min(shifts) >= _SHIFTED_HU[0] and sum(shifts) / 2 >= _SHIFTED_HU[1]:
                return True
        return False

    def is_cut(self) -> bool:
        """Whether the scan begins or ends inside the heart."""
        # Below the heart lungs are narrow. Above it they may be wide, but the mediastinum is narrower.
        lung = self.lung.sum(axis=(0, 1)) * self.pixel_cm2
        between = self.between.sum(axis=(0, 1)) * self.pixel_cm2
        heart = self._heart_slices()
        wide = (lung > _WIDE * np.percentile(lung, 95)) & heart
        broad = wide & (between > _BROAD * np.median(between[heart]))
        # Two slices must agree: one alone may be confused by shoulders or a blanket.
        return bool(wide[:2].all() or broad[-2:].all())

    def _middle(self) -> int | None:
        columns = np.flatnonzero(self.lung.any(axis=(1, 2)))
        return int(columns.mean()) if columns.size else None

    def _heart_slices(self) -> np.ndarray:
        middle = self._middle()
        both = self.lung[:middle].any(axis=(0, 1)) & self.lung[middle:].any(axis=(0, 1))
        return both & (self.between.sum(axis=(0, 1)) * self.pixel_cm2 > _LEAST_BETWEEN_CM2)


def view_chest(volume: Volume) -> ChestView | None:
    """The chest in a scan (HU, RAS+); None where the values are no HU."""
    hu, spacing_mm = _coarse(volume)
    return _find_chest(hu, spacing_mm) if _is_hu(hu) else None


def _coarse(volume: Volume) -> tuple[np.ndarray, tuple[float, float, float]]:
    """Mean over blocks of about `_COARSE_MM`, of every second voxel in the plane; float32 and its spacing."""
    blocks = [
        min(count, max(1, round(_COARSE_MM / spacing)))
        for count, spacing in zip(volume.shape, volume.spacing_mm, strict=True)
    ]
    step = [2 if block >= 4 else 1 for block in blocks[:2]] + [1]
    if volume.spacing_mm[2] < _COARSE_MM / 2:
        step[2] = blocks[2]
    hu = volume.array[:: step[0], :: step[1], :: step[2]]
    for axis in (2, 1, 0):
        block = blocks[axis] // step[axis]
        layers = np.moveaxis(hu, axis, 0)[: hu.shape[axis] // block * block]
        total = layers[::block].astype(np.float32)
        for place in range(1, block):
            total += layers[place::block]
        hu = np.moveaxis(total / block, 0, axis)
    spacing = triple(
        value * step[axis] * (blocks[axis] // step[axis]) for axis, value in enumerate(volume.spacing_mm)
    )
    return hu, spacing


def _is_hu(hu: np.ndarray) -> bool:
    """Whether air and soft tissue lie where HU put them."""
    body = hu[hu > -300]
    if body.size < _LEAST_BODY * hu.size or (hu < -700).mean() < _LEAST_AIR:
        return False
    return _SOFT_HU[0] <= float(np.median(body)) <= _SOFT_HU[1]


def _peaks(hu: np.ndarray) -> list[float]:
    """HU that are more frequent than those about them, from fat to muscle."""
    counts = np.convolve(np.histogram(hu, _PEAK_BINS)[0], np.ones(3) / 3, mode="same")
    width = 6
    around = np.lib.stride_tricks.sliding_window_view(counts, 2 * width + 1).max(axis=1)
    inner = counts[width:-width]
    middles = ((_PEAK_BINS[:-1] + _PEAK_BINS[1:]) / 2)[width:-width]
    return list(middles[(inner == around) & (inner > _LEAST_PEAK * counts.max())])


def _find_chest(hu: np.ndarray, spacing_mm: tuple[float, float, float]) -> ChestView:
    """Find lungs and the soft tissue between them."""
    from scipy import ndimage

    # Lung is set apart from air around the patient, in the trachea or in bowel by its mean: it holds blood.
    dark = (hu < -500) & (hu > AIR_HU + 8)
    in_plane = np.pad(ndimage.generate_binary_structure(2, 1)[None], ((1, 1), (0, 0), (0, 0)))
    parts, count = ndimage.label(dark.T, structure=in_plane)
    parts = parts.T
    areas = np.bincount(parts.ravel("K"), minlength=count + 1) * spacing_mm[0] * spacing_mm[1] / 100
    # Rims are part air, part tissue, and would make air look like lung.
    core = _eroded(dark, axes=2)
    owner = parts[core]
    sizes = np.bincount(owner, minlength=count + 1)
    means = np.bincount(owner, weights=hu[core], minlength=count + 1) / np.maximum(sizes, 1)
    beside_air = ~_eroded(hu > AIR_HU + 8, axes=2)
    open_air = np.zeros(count + 1, bool)
    open_air[parts[beside_air]] = True
    is_lung = (areas > 3) & (sizes > 0) & (means < -600) & (means > np.where(open_air, -925, -965))
    is_lung[0] = False
    lung = is_lung[parts]
    before = np.maximum.accumulate(lung, axis=0)
    after = np.maximum.accumulate(lung[::-1], axis=0)[::-1]
    between = before & after & ~lung & (hu > -150)
    return ChestView(hu, lung, between, spacing_mm)


def _eroded(mask: np.ndarray, *, axes: int) -> np.ndarray:
    """Voxels whose neighbours along the first so many axes are all true; what lies outside is not."""
    result = mask.copy(order="K")
    for axis in range(axes):
        lines, whole = np.moveaxis(result, axis, 0), np.moveaxis(mask, axis, 0)
        lines[1:] &= whole[:-1]
        lines[:-1] &= whole[1:]
        lines[[0, -1]] = False
    return result
