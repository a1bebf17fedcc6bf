"""What every format yields, and the checks that all of them share."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from coronet.errors import UnreadableScan

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""DICOM, ITK and most NRRD files point left and back where RAS+ points right and front."""

_RIGHT_ANGLE_TOLERANCE = 2e-3  # largest cosine between two axes of an upright grid; 0.1 degrees


@dataclasses.dataclass(frozen=True)
class RawVolume:
    """Stored values with their place, before anything is done to them.

    Attributes:
        array: in the file's own index order.
        affine: 4 × 4, that index order to millimetres in RAS+.
        names: label value and the name the file gives it; empty where it names none.
    """

    array: np.ndarray
    affine: np.ndarray
    names: Mapping[int, str] = dataclasses.field(default_factory=dict)


def three_axes(array: np.ndarray, path: Path) -> np.ndarray:
    """Drop trailing axes of length one; refuse whatever is not three-dimensional then."""
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != 3:
        kind = "a series in time or a picture in colour" if array.ndim > 3 else "no volume"
        raise UnreadableScan(f"{path}: shape {array.shape} is {kind}; give one volume with three axes.")
    if min(array.shape) < 2:
        raise UnreadableScan(f"{path}: shape {array.shape} is a single slice; give a whole volume.")
    return array


def check_grid(affine: np.ndarray, path: Path) -> np.ndarray:
    """Return ``affine`` where it spans an upright grid.

    Raises:
        UnreadableScan: it is not finite, flat, or its axes do not stand at right angles (gantry tilt).
    """
    affine = np.asarray(affine, dtype=np.float64)
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    if not np.isfinite(affine).all() or (spacing < 1e-3).any() or (spacing > 100).any():
        raise UnreadableScan(f"{path}: the spacing {np.round(spacing, 4).tolist()} mm cannot be right.")
    cosines = np.abs((affine[:3, :3] / spacing).T @ (affine[:3, :3] / spacing) - np.eye(3))
    if cosines.max() > _RIGHT_ANGLE_TOLERANCE:
        degrees = float(np.degrees(np.arcsin(min(1.0, cosines.max()))))
        raise UnreadableScan(
            f"{path}: the axes lean by {degrees:.1f} degrees (gantry tilt). "
            "Resample the scan to an upright grid first."
        )
    return affine


def companion(header: Path, name: str) -> Path:
    """The data file that a detached header names, which must lie beside it; ``./`` may stand before the name.

    The name is not repeated in errors: it is the sender's and may name the patient.

    Raises:
        UnreadableScan: ``name`` leads to another folder, is a pattern, or is absent.
    """
    parts = [part for part in re.split(r"[\\/]", name) if part not in ("", ".")]
    if (
        len(parts) != 1
        or parts == [".."]
        or name[0] in "/\\"
        or "%" in name
        or name.upper().startswith("LIST")
    ):
        raise UnreadableScan(f"{header}: its data must be one file in the same folder as the header.")
    data = header.parent / parts[0]
    if not data.is_file():
        raise UnreadableScan(
            f"{header}: the data file that it names is absent; it must lie beside the header."
        )
    return data
