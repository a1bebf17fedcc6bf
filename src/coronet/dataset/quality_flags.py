"""Reasons to be careful with a scan, found on a coarse copy of it.

The limits were set on real scans of the kinds named beside them, with room on both sides; they are meant to
catch what is plainly wrong, not to grade scans.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from coronet.dataset.heart_check import HEART_PLACE, HEART_SIZE, INCOMPLETE, check_heart
from coronet.io.scan_facts import ScanFacts
from coronet.io.volume import AIR_HU, Volume, triple

CONTRAST = "contrast"
NOT_HU = "not_hu"
NO_HEART = "no_heart_in_view"
_THICK = "thick_slices"
FLAGS = {
    CONTRAST: "a contrast agent was given; blood is as bright as calcium",
    NOT_HU: "the values are no HU (air near -1000 or soft tissue near 40 is absent)",
    NO_HEART: "no heart between two lungs that hold air is in view",
    INCOMPLETE: "the heart may not be whole in the scan",
    HEART_SIZE: "the heart has no plausible size",
    HEART_PLACE: "the heart lies in no plausible place",
    _THICK: "slices are more than 5 mm apart; small calcium is missed",
}
"""Every flag and what it means, in words for people."""

UNFIT = (CONTRAST, NOT_HU, NO_HEART, INCOMPLETE, HEART_SIZE, HEART_PLACE)
"""Flags that forbid a score and keep a scan out of training, tuning and testing."""

_COARSE_MM = 4.0
_LEAST_LENGTH_MM = 100.0
_THICKEST_MM = 5.0
_BLOOD_HU = 90.0
"""Median of soft tissue between the lungs: 40-50 without contrast, above 100 late after it, 450 early."""
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
    """The coarse scan and what is found in it; arrays are (x, y, z), RAS+.

    Attributes:
        hu: float32.
        lung: bool.
        between: bool; soft tissue with lung on its right and its left, in front of the lungs' back.
        spacing_mm: of these arrays.
    """

    hu: np.ndarray
    lung: np.ndarray
    between: np.ndarray
    spacing_mm: tuple[float, float, float]

    @property
    def pixel_cm2(self) -> float:
        """Area of one coarse pixel in cm²."""
        return self.spacing_mm[0] * self.spacing_mm[1] / 100


def quality_flags(volume: Volume, facts: ScanFacts, heart: np.ndarray | None = None) -> tuple[str, ...]:
    """Flags of a scan, in the order of `FLAGS`.

    Args:
        volume: HU in RAS+; where the values are no HU, the picture is not examined.
        facts: of the same scan; only ``contrast`` counts.
        heart: boolean heart mask, shape of ``volume``, which decides whether the heart is whole. Without one,
            lungs and mediastinum do.
    """
    flags, chest = examine_scan(volume, facts)
    found = set(flags)
    if heart is not None:
        found = set(check_scan_heart(dict.fromkeys(flags, ""), heart, volume, chest))
    elif volume.shape[2] * volume.spacing_mm[2] < _LEAST_LENGTH_MM or (
        chest is not None and NO_HEART not in found and _is_cut(chest)
    ):
        found.add(INCOMPLETE)
    return in_flag_order(found)


def check_scan_heart(
    warnings: Mapping[str, str],
    heart: np.ndarray,
    ct: Volume,
    chest: ChestView | None,
    near_mm: Sequence[float] = (0, 0, 0),
) -> dict[str, str]:
    """Warnings together with those of a heart mask.

    Where the picture shows no heart between two lungs and the mask is part of one that the scan cuts, that it
    is cut is the reason; any other mask is none of a heart.

    Args:
        warnings: flags of `examine_scan` and each in words.
        heart: boolean, shape (x, y, z) of ``ct``.
        ct: HU, RAS+.
        chest: as `examine_scan` finds it.
        near_mm: see `coronet.dataset.heart_check.cut_sides`.
    """
    faults = check_heart(heart, ct, chest, near_mm)
    if NO_HEART not in warnings:
        return {**warnings, **faults}
    if INCOMPLETE not in faults:
        return dict(warnings)
    kept = {flag: words for flag, words in warnings.items() if flag != NO_HEART}
    return {**kept, **faults}


def in_flag_order(flags: Iterable[str]) -> tuple[str, ...]:
    """Flags in the order of `FLAGS`, each once."""
    return tuple(sorted(set(flags), key=list(FLAGS).index))


def examine_scan(volume: Volume, facts: ScanFacts) -> tuple[tuple[str, ...], ChestView | None]:
    """The flags that need no heart mask, and the chest; None where the values are no HU.

    ``volume`` is HU in RAS+; of ``facts`` only ``contrast`` counts.
    """
    flags = set()
    if volume.spacing_mm[2] > _THICKEST_MM:
        flags.add(_THICK)
    if facts.contrast:
        flags.add(CONTRAST)
    hu, spacing = _coarse(volume)
    if not _is_hu(hu):
        return in_flag_order({*flags, NOT_HU}), None
    chest = _find_chest(hu, spacing)
    if not _has_heart(chest):
        flags.add(NO_HEART)
    elif _is_bright(chest):
        flags.add(CONTRAST)
    return in_flag_order(flags), chest


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


def _has_heart(chest: ChestView) -> bool:
    """Whether two lungs have a heart's worth of soft tissue between them over a heart's length."""
    middle = _middle(chest)
    if middle is None:
        return False
    sides = chest.lung[:middle].sum(), chest.lung[middle:].sum()
    if min(sides) * math.prod(chest.spacing_mm) / 1000 < _LEAST_LUNG_ML:
        return False
    runs = (len(list(run)) for present, run in itertools.groupby(_heart_slices(chest)) if present)
    return max(runs, default=0) * chest.spacing_mm[2] >= _LEAST_BETWEEN_MM


def _is_bright(chest: ChestView) -> bool:
    """Whether the blood between the lungs is brighter than blood without contrast can be."""
    core = _eroded(chest.between & (chest.hu > -20), axes=3)
    core &= _heart_slices(chest)
    values = chest.hu[core]
    return bool(values.size) and float(np.median(values)) > _BLOOD_HU


def _is_cut(chest: ChestView) -> bool:
    """Whether the scan begins or ends inside the heart."""
    # Below the heart lungs are narrow. Above it they may be wide, but the mediastinum is narrower than it.
    lung = chest.lung.sum(axis=(0, 1)) * chest.pixel_cm2
    between = chest.between.sum(axis=(0, 1)) * chest.pixel_cm2
    heart = _heart_slices(chest)
    wide = (lung > _WIDE * np.percentile(lung, 95)) & heart
    broad = wide & (between > _BROAD * np.median(between[heart]))
    # Two slices must agree: one alone may be confused by shoulders or a blanket.
    return bool(wide[:2].all() or broad[-2:].all())


def _middle(chest: ChestView) -> int | None:
    columns = np.flatnonzero(chest.lung.any(axis=(1, 2)))
    return int(columns.mean()) if columns.size else None


def _heart_slices(chest: ChestView) -> np.ndarray:
    middle = _middle(chest)
    both = chest.lung[:middle].any(axis=(0, 1)) & chest.lung[middle:].any(axis=(0, 1))
    return both & (chest.between.sum(axis=(0, 1)) * chest.pixel_cm2 > _LEAST_BETWEEN_CM2)
