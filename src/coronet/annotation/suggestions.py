"""Where the next stroke would help most."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from coronet.annotation.annotated_cases import annotation_paths
from coronet.annotation.strokes import Target
from coronet.errors import InputError
from coronet.imaging.slice_names import slice_height_mm, slice_name
from coronet.io.volume import Volume, read_nifti, triple

_APART_MM = 12.0


@dataclasses.dataclass(frozen=True)
class SuggestedPlace:
    """A slice of a scan, and how uncertain it is."""

    z: int  # index of the axial slice, from the feet; the first is 0
    name: str  # the slice for people, counted from 1
    z_mm: float  # its height in the scan's world
    centre_mm: tuple[float, float, float]  # (x, y, z) of the middle of the largest uncertain patch
    uncertain_mm2: float  # area, every voxel weighted with its uncertainty


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """A scan with the slices where a stroke helps most, the best first."""

    case: str
    uncertain_ml: float
    slices: tuple[SuggestedPlace, ...]


def suggest(data: Path, target: Target, *, cases: tuple[str, ...], slices: int = 3) -> tuple[Suggestion, ...]:
    """Scans in the order of how uncertain their forest is.

    Args:
        cases: those to consider; their masks must have been drawn.

    Raises:
        InputError: a case has no uncertainty map.
    """
    found = []
    for case in cases:
        path = annotation_paths(data, case, target).uncertainty
        if not path.exists():
            raise InputError(
                f"{case} has no {target} mask from strokes; `coronet annotate apply {case}` first."
            )
        volume = read_nifti(path, np.uint8)
        total = float(volume.array.sum(dtype=np.int64)) / 100 * volume.voxel_mm3 / 1000
        found.append(Suggestion(case, round(total, 4), uncertain_slices(volume, slices)))
    return tuple(sorted(found, key=lambda item: (-item.uncertain_ml, item.case)))


def uncertain_slices(uncertainty: Volume, count: int) -> tuple[SuggestedPlace, ...]:
    """The most uncertain axial slices, at least `_APART_MM` apart.

    Args:
        uncertainty: per cent, uint8.
    """
    area = uncertainty.array.sum(axis=(0, 1), dtype=np.int64)
    step_x, step_y, step_z = uncertainty.spacing_mm
    apart = max(1, round(_APART_MM / step_z))
    left = area.copy()
    chosen: list[SuggestedPlace] = []
    while len(chosen) < count and left.max(initial=0) > 0:
        z = int(left.argmax())
        chosen.append(
            SuggestedPlace(
                z=z,
                name=slice_name(uncertainty, z),
                z_mm=slice_height_mm(uncertainty, z),
                centre_mm=_patch_centre(uncertainty.array[:, :, z], z, uncertainty.affine),
                uncertain_mm2=round(float(area[z]) / 100 * step_x * step_y, 1),
            )
        )
        left[max(z - apart, 0) : z + apart + 1] = 0
    return tuple(chosen)


def _patch_centre(plane: np.ndarray, z: int, affine: np.ndarray) -> tuple[float, float, float]:
    """The innermost point of a slice's largest patch of at least half its highest uncertainty, in mm."""
    from scipy import ndimage

    parts, count = ndimage.label(plane >= max(1, int(plane.max()) // 2))
    largest = parts == 1 + int(np.argmax(np.bincount(parts.ravel(), minlength=count + 1)[1:]))
    depth = ndimage.distance_transform_edt(np.pad(largest, 1))[1:-1, 1:-1]
    x, y = np.unravel_index(int(depth.argmax()), depth.shape)
    place = np.asarray(affine) @ [x, y, z, 1]
    return triple(round(float(value), 1) for value in place[:3])
