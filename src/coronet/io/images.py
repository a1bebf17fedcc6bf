"""Images in memory: nibabel, SimpleITK or ITK, an array with its affine, and volumes of this package."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from coronet.errors import UnreadableScan
from coronet.io.nifti import image_affine
from coronet.io.raw_volume import LPS_TO_RAS, RawVolume, check_grid, three_axes
from coronet.io.volume import Volume

Image = Any
"""A `Volume`, a nibabel image, a SimpleITK or ITK image, or a tuple (array, affine)."""


def is_path(value: object) -> bool:
    """Whether ``value`` is a path in place of an image."""
    return isinstance(value, str | os.PathLike)


def raw_image(image: Image, what: str) -> RawVolume:
    """Copy an image in memory into an array with its affine.

    Args:
        image: a `Volume`; a nibabel image; a SimpleITK or ITK image, whose LPS axes become RAS; or a tuple
            (array, affine) with a 4 × 4 affine to RAS millimetres, as nibabel has it.
        what: names the image in errors.

    Raises:
        UnreadableScan: it is none of these, is not three-dimensional, or its affine cannot be right.
    """
    where = Path(what)
    if isinstance(image, Volume):
        array, affine = image.array, image.affine
    elif isinstance(image, tuple) and len(image) == 2:
        array, affine = (_numbers(part, what) for part in image)
        if affine.shape != (4, 4) or not np.allclose(affine[3], (0, 0, 0, 1)):
            raise UnreadableScan(f"{what}: the affine has shape {affine.shape}; it is a 4 × 4 matrix.")
    elif hasattr(image, "dataobj") and hasattr(image, "affine"):
        array, affine = np.asanyarray(image.dataobj), image_affine(image, where)
    elif all(hasattr(image, name) for name in ("GetSpacing", "GetOrigin", "GetDirection")):
        array, affine = _itk_image(image, what)
    else:
        raise UnreadableScan(
            f"{what}: {type(image).__name__} is not an image. Give a path, a nibabel or SimpleITK image, or "
            "a tuple (array, affine)."
        )
    if array.dtype.kind not in "biuf":
        raise UnreadableScan(f"{what}: values of type {array.dtype} are not HU or labels.")
    return RawVolume(np.array(three_axes(array, where)), check_grid(affine, where))


def _numbers(value: object, what: str) -> np.ndarray:
    try:
        array = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise UnreadableScan(f"{what}: (array, affine) must be two arrays ({error}).") from error
    if array.dtype.kind not in "biuf":
        raise UnreadableScan(f"{what}: (array, affine) must be two arrays of numbers.")
    return array


def _itk_image(image: Any, what: str) -> tuple[np.ndarray, np.ndarray]:
    """Values (x, y, z) and the affine to RAS; ITK gives arrays as (z, y, x), origin and directions in LPS."""
    package = sys.modules.get(type(image).__module__.partition(".")[0])
    to_array = getattr(package, "GetArrayViewFromImage", np.asarray)
    array = np.asarray(to_array(image))
    if array.ndim != 3 or len(tuple(image.GetSpacing())) != 3:
        raise UnreadableScan(
            f"{what}: an ITK image of shape {array.shape} is not one volume of HU or labels."
        )
    spacing, origin = (np.asarray(tuple(part), float) for part in (image.GetSpacing(), image.GetOrigin()))
    direction = np.asarray(image.GetDirection(), float)
    if direction.size != 9 or origin.size != 3:
        raise UnreadableScan(f"{what}: its origin and directions are not those of a volume.")
    affine = np.eye(4)
    affine[:3, :3] = direction.reshape(3, 3) * spacing
    affine[:3, 3] = origin
    return array.transpose(), np.asarray(LPS_TO_RAS @ affine)
