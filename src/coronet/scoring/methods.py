"""The four calcium scores, each a function of the voxels that count."""

from __future__ import annotations

import numpy as np

from coronet.errors import InputError
from coronet.scoring.counted_voxels import CountedCalcium
from coronet.scoring.protocol import Protocol

METHODS = ("agatston", "volume_weighted", "volume", "mass")


def agatston(
    calcium: CountedCalcium, protocol: Protocol, *, slice_thickness_mm: float | None = None
) -> float:
    """Agatston score: Σ over parts of area (mm²) × weight of the highest HU × slice factor.

    Source: Agatston et al., J Am Coll Cardiol 1990;15:827; the slice factor (spacing / 3 mm) keeps the score
    of 3 mm slices where slices lie nearer together or further apart.
    """
    return float(agatston_of_parts(calcium, protocol, slice_thickness_mm=slice_thickness_mm).sum())


def agatston_of_parts(
    calcium: CountedCalcium, protocol: Protocol, *, slice_thickness_mm: float | None = None
) -> np.ndarray:
    """Agatston score of each part, float64, shape (parts,); 0 where a part is too small."""
    voxels = np.bincount(calcium.part, minlength=calcium.parts)
    peak = highest(calcium.hu, calcium.part, calcium.parts)
    voxel = calcium.grid.pixel_mm2 * protocol.factor(calcium.grid.slice_spacing_mm, slice_thickness_mm)
    if protocol.voxel_decimals is not None:
        voxel = round(voxel, protocol.voxel_decimals)
    scores = voxels * voxel * protocol.weight(peak)
    if protocol.part_decimals is not None:
        scores = np.round(scores, protocol.part_decimals)
    # An affine holds spacings as products and roots, so 4 × 0.5 mm × 0.5 mm may fall just short of 1 mm².
    large = voxels * calcium.grid.pixel_mm2 >= protocol.least_area_mm2 - 1e-6
    return np.where(large & (voxels >= protocol.least_voxels), scores, 0.0)


def volume_weighted(calcium: CountedCalcium, protocol: Protocol) -> float:
    """Weighted volume: Σ over 3-D lesions of volume (mm³) × weight of the lesion's highest HU.

    Source: medRxiv 2024.09.06.24313174. No minimum size and no slice factor.
    """
    voxels = np.bincount(calcium.lesion, minlength=calcium.lesions)
    weights = protocol.weight(highest(calcium.hu, calcium.lesion, calcium.lesions))
    return float((voxels * weights).sum() * calcium.grid.voxel_mm3)


def volume(calcium: CountedCalcium) -> float:
    """Volume score in mm³: all voxels that count, of whatever size their lesion is."""
    return float(calcium.hu.size * calcium.grid.voxel_mm3)


def mass(calcium: CountedCalcium, calibration_factor: float) -> float:
    """Mass score in mg: calibration factor × mean HU × volume, summed over lesions.

    Source: McCollough et al., Radiology 2007;243:527.

    Args:
        calcium: voxels that count.
        calibration_factor: mg of hydroxyapatite per mm³ and HU, from a scan of a known insert with the same
            scanner settings: its density / (its mean HU − mean HU of water).

    Raises:
        InputError: the factor is no number above 0.
    """
    if not (np.isfinite(calibration_factor) and calibration_factor > 0):
        raise InputError(
            f"The calibration factor is {calibration_factor}; it is a number above 0, in mg/(mm³·HU)."
        )
    return float(calibration_factor * calcium.grid.voxel_mm3 * calcium.hu.sum())


def highest(values: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    """Highest value of each group, shape (groups,); ``group`` numbers them from 0."""
    peaks = np.full(groups, -np.inf)
    np.maximum.at(peaks, group, values)
    return peaks
