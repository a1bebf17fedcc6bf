"""The Agatston score, volume, weighted volume and mass of counted voxels."""

from __future__ import annotations

import dataclasses

import numpy as np

from coronet.errors import InputError, ParamsError
from coronet.scoring.counted_voxels import CountedCalcium
from coronet.scoring.protocol import Protocol

METHODS = ("agatston", "volume_weighted", "volume", "mass")


@dataclasses.dataclass(frozen=True)
class Scores:
    """One mask under four methods.

    Attributes:
        agatston: Σ over parts of area (mm²) × weight of the highest HU × slice factor.
            Source: Agatston et al., J Am Coll Cardiol 1990;15:827. The slice factor (spacing / 3 mm) keeps
            the score of 3 mm slices where slices lie nearer together or further apart.
        volume_weighted: Σ over 3-D lesions of volume (mm³) × weight of the lesion's highest HU, without
            minimum size and slice factor. Source: medRxiv 2024.09.06.24313174.
        volume_mm3: volume of all voxels that count, in mm³.
        mass_mg: calibration factor × mean HU × volume, in mg; None without a calibration factor.
            Source: McCollough et al., Radiology 2007;243:527.
    """

    agatston: float
    volume_weighted: float
    volume_mm3: float
    mass_mg: float | None

    def of(self, method: str) -> float:
        """The score by ``method``, one of `METHODS`.

        Raises:
            ParamsError: there is no such method, or no mass was measured.
        """
        if method not in METHODS:
            raise ParamsError(f'There is no method "{method}"; there are {", ".join(METHODS)}.')
        value: float | None = getattr(self, {"volume": "volume_mm3", "mass": "mass_mg"}.get(method, method))
        if value is None:
            raise ParamsError("A mass score needs a calibration factor in mg/(mm³·HU).")
        return value


def compute_scores(
    calcium: CountedCalcium,
    protocol: Protocol,
    parts: np.ndarray,
    *,
    calibration_factor: float | None = None,
) -> Scores:
    """Compute all four scores.

    Args:
        calcium: voxels that count.
        protocol: weights of the highest HU.
        parts: what `agatston_of_parts` gives, shape (parts,).
        calibration_factor: mg of hydroxyapatite per mm³ and HU, from a scan of a known insert with the same
            scanner settings: its density / (its mean HU − mean HU of water).

    Raises:
        InputError: the calibration factor is not a number above 0.
    """
    voxels = np.bincount(calcium.lesion, minlength=calcium.lesions)
    weights = protocol.weight(highest(calcium.hu, calcium.lesion, calcium.lesions))
    mass = None
    if calibration_factor is not None:
        if not (np.isfinite(calibration_factor) and calibration_factor > 0):
            raise InputError(
                f"The calibration factor is {calibration_factor}; it is a number above 0, in mg/(mm³·HU)."
            )
        mass = float(calibration_factor * calcium.voxel_mm3 * calcium.hu.sum())
    return Scores(
        agatston=float(parts.sum()),
        volume_weighted=float((voxels * weights).sum() * calcium.voxel_mm3),
        volume_mm3=float(calcium.hu.size * calcium.voxel_mm3),
        mass_mg=mass,
    )


def agatston_of_parts(
    calcium: CountedCalcium, protocol: Protocol, *, slice_thickness_mm: float | None = None
) -> np.ndarray:
    """Agatston score of each part, float64, shape (parts,); 0 where a part is too small."""
    voxels = np.bincount(calcium.part, minlength=calcium.parts)
    peak = highest(calcium.hu, calcium.part, calcium.parts)
    voxel = calcium.pixel_mm2 * protocol.factor(calcium.slice_spacing_mm, slice_thickness_mm)
    if protocol.voxel_decimals is not None:
        voxel = round(voxel, protocol.voxel_decimals)
    scores = voxels * voxel * protocol.weight(peak)
    if protocol.part_decimals is not None:
        scores = np.round(scores, protocol.part_decimals)
    # An affine holds spacings as products and roots, so 4 × 0.5 mm × 0.5 mm may fall just short of 1 mm².
    large = voxels * calcium.pixel_mm2 >= protocol.least_area_mm2 - 1e-6
    return np.where(large & (voxels >= protocol.least_voxels), scores, 0.0)


def highest(values: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    """Highest value of each group, shape (groups,); ``group`` numbers them from 0."""
    peaks = np.full(groups, -np.inf)
    np.maximum.at(peaks, group, values)
    return peaks
