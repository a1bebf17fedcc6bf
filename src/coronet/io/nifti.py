"""NIfTI files: scaling, units, and an orientation that is stated, not guessed."""

from __future__ import annotations

import itertools
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np

from coronet.errors import UnreadableScan
from coronet.io.log_redaction import silence_libraries
from coronet.io.raw_volume import RawVolume, check_grid, three_axes
from coronet.io.volume import affine_of, values_of

_UNIT_MM = {"mm": 1.0, "unknown": 1.0, "meter": 1000.0, "micron": 0.001}


def load_nifti(path: Path) -> RawVolume:
    """Read ``.nii`` or ``.nii.gz`` with its ``scl_slope`` and ``scl_inter`` applied.

    Raises:
        UnreadableScan: damaged, not three-dimensional, in colour, or without a usable orientation.
    """
    import nibabel

    silence_libraries()
    try:
        _check_scaling(path)
        image: Any = nibabel.load(path)
        if not isinstance(image, nibabel.Nifti1Image):
            raise UnreadableScan(f"{path}: this is no NIfTI file.")
        affine = image_affine(image, path)
        if image.get_data_dtype().kind not in "iuf":
            raise UnreadableScan(f"{path}: values of type {image.get_data_dtype()} are no HU.")
        array = three_axes(values_of(image, path), path)
    except UnreadableScan:
        raise
    except Exception as error:
        # Whatever the parser raises on bytes that are not what they should be; its text may quote them.
        raise UnreadableScan(f"{path}: the file is damaged or no NIfTI ({type(error).__name__}).") from None
    return RawVolume(array, affine)


def _check_scaling(path: Path) -> None:
    """Refuse ``scl_slope`` and ``scl_inter`` that contradict each other; a slope of 0 means no scaling."""
    from nibabel.openers import ImageOpener

    with ImageOpener(str(path)) as stream:
        head = stream.read(192)
    for order, (size, form, place) in itertools.product("<>", ((348, "ff", 112), (540, "dd", 176))):
        if len(head) == 192 and struct.unpack_from(f"{order}i", head)[0] == size:
            slope, intercept = struct.unpack_from(f"{order}{form}", head, place)
            unscaled = slope == 0 or not math.isfinite(slope)
            if (unscaled and math.isfinite(intercept) and intercept != 0) or (
                not unscaled and not math.isfinite(intercept)
            ):
                raise UnreadableScan(
                    f"{path}: its header has scl_slope {slope:g} and scl_inter {intercept:g}, which "
                    "contradict each other; write HU as they are, with slope 1 and intercept 0."
                )


def image_affine(image: Any, path: Path) -> np.ndarray:
    """The affine of a nibabel image in mm.

    Raises:
        UnreadableScan: the header states no place, or two that differ.
    """
    import nibabel

    if not isinstance(image, nibabel.Nifti1Image):
        return check_grid(image.affine, path)
    header = image.header
    qform, sform = image.get_qform(coded=True), image.get_sform(coded=True)
    if qform[0] is None and sform[0] is None:
        raise UnreadableScan(f"{path}: it does not say how the patient lies (qform and sform are unset).")
    spacing = np.sqrt((image.affine[:3, :3] ** 2).sum(axis=0))
    zooms = np.asarray(header.get_zooms()[:3], dtype=np.float64)
    if len(zooms) == 3 and not np.allclose(spacing, zooms, rtol=0.01):
        raise UnreadableScan(
            f"{path}: the affine says a spacing of {np.round(spacing, 3).tolist()}, "
            f"pixdim says {np.round(zooms, 3).tolist()}; set both alike."
        )
    # Leaning axes are refused as such: a qform cannot state them and differs for that reason.
    to_mm = np.diag([*[_UNIT_MM.get(header.get_xyzt_units()[0], 1.0)] * 3, 1.0])
    check_grid(to_mm @ image.affine, path)
    placed: np.ndarray = to_mm @ affine_of(image, path)
    return placed
