"""A calcium mask as a list of lesions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from coronet.io.volume import Volume
from coronet.scoring.agatston import highest
from coronet.scoring.counted_voxels import CountedCalcium
from coronet.scoring.protocol import Protocol

_SIDES = ("left side", "midline", "right side")
_DEPTHS = ("back", "mid-depth", "front")
_LEVELS = ("lower third", "middle third", "upper third")


@dataclasses.dataclass(frozen=True)
class Lesion:
    """One connected calcification.

    Attributes:
        number: from 1, highest Agatston score first.
        voxels: that count.
        volume_mm3: of them.
        peak_hu: highest HU.
        mean_hu: of the voxels that count.
        weight: of the highest HU; slices of the lesion may have a lower one in the Agatston score.
        agatston: the lesion's share of the score; 0 where all its parts are too small.
        mass_mg: None without a calibration factor.
        centre_mm: mean position of its voxels, RAS+.
        centre_voxel: the same as an index (x, y, z), not rounded.
        slices: first and last index along z.
        vessel: where most of its voxels lie; None where the mask has no vessel labels.
        vessels: Agatston score by vessel, each part shared out by voxels; empty without vessel labels.
    """

    number: int
    voxels: int
    volume_mm3: float
    peak_hu: float
    mean_hu: float
    weight: float
    agatston: float
    mass_mg: float | None
    centre_mm: tuple[float, float, float]
    centre_voxel: tuple[float, float, float]
    slices: tuple[int, int]
    vessel: str | None
    vessels: Mapping[str, float]


def list_lesions(
    calcium: CountedCalcium,
    ct: Volume,
    protocol: Protocol,
    parts: np.ndarray,
    *,
    calibration_factor: float | None = None,
    vessels: Mapping[int, str] | None = None,
) -> tuple[Lesion, ...]:
    """Describe every lesion, highest score first, then largest, then lowest in the body.

    Args:
        calcium: the voxels of ``ct`` that count.
        ct: the scan, for positions.
        protocol: weights of the highest HU.
        parts: Agatston score of each part, shape (parts,); see `coronet.scoring.agatston.agatston_of_parts`.
        calibration_factor: mg/(mm³·HU), or None for no mass.
        vessels: name of each label, where labels are vessels.
    """
    count = calcium.lesions
    if not count:
        return ()
    of_voxel = (parts / np.bincount(calcium.part))[calcium.part]
    voxels = np.bincount(calcium.lesion)
    peak = highest(calcium.hu, calcium.lesion, count)
    weight = protocol.weight(peak)
    total_hu = np.bincount(calcium.lesion, weights=calcium.hu)
    score = np.bincount(calcium.lesion, weights=of_voxel)
    centre = (
        np.stack([np.bincount(calcium.lesion, weights=axis) for axis in calcium.index.T], 1) / voxels[:, None]
    )
    centre_mm = centre @ ct.affine[:3, :3].T + ct.affine[:3, 3]
    last = highest(calcium.index[:, 2], calcium.lesion, count)
    first = -highest(-calcium.index[:, 2], calcium.lesion, count)
    shares = {
        name: (
            np.bincount(calcium.lesion, weights=calcium.label == value, minlength=count),
            np.bincount(calcium.lesion, weights=of_voxel * (calcium.label == value), minlength=count),
        )
        for value, name in (vessels or {}).items()
    }
    # Rounding before sorting keeps the order from hanging on the last bit of a sum.
    keys = np.round(np.stack([*centre_mm.T, -voxels, -score]), 6)
    mg = None if calibration_factor is None else calibration_factor * calcium.voxel_mm3
    return tuple(
        Lesion(
            number=number,
            voxels=int(voxels[at]),
            volume_mm3=float(voxels[at] * calcium.voxel_mm3),
            peak_hu=float(peak[at]),
            mean_hu=float(total_hu[at] / voxels[at]),
            weight=float(weight[at]),
            agatston=float(score[at]),
            mass_mg=None if mg is None else float(mg * total_hu[at]),
            centre_mm=_point(centre_mm[at]),
            centre_voxel=_point(centre[at]),
            slices=(int(first[at]), int(last[at])),
            vessel=max(shares, key=lambda name: shares[name][0][at]) if shares else None,
            vessels={name: float(values[at]) for name, (size, values) in shares.items() if size[at]},
        )
        for number, at in enumerate(np.lexsort(keys), start=1)
    )


def _point(values: np.ndarray) -> tuple[float, float, float]:
    x, y, z = map(float, values)
    return x, y, z


def places_in_heart(voxels: Sequence[Sequence[float]], heart: np.ndarray) -> tuple[str, ...]:
    """Name the thirds of the heart's box that voxels lie in, along each axis.

    Args:
        voxels: (x, y, z) each, in an RAS+ array.
        heart: boolean mask of that array's shape, not empty.

    Returns:
        Such as ``left side, front, upper third``; sides are the patient's. Outside of the box the nearest.
    """
    filled = [np.flatnonzero(heart.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
    low = np.array([indices[0] for indices in filled])
    size = np.array([indices[-1] for indices in filled]) - low + 1
    thirds = np.clip((np.reshape(voxels, (-1, 3)) - low + 0.5) / size * 3, 0, 2).astype(int)
    return tuple(f"{_SIDES[x]}, {_DEPTHS[y]}, {_LEVELS[z]}" for x, y, z in thirds)
