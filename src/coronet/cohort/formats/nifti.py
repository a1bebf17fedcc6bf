"""NIfTI files: scaling, units, and an orientation that is stated, not guessed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from coronet.cohort.formats.loaded import Loaded, check_grid, three_axes
from coronet.cohort.formats.silence import silence_libraries
from coronet.cohort.volume import values_of
from coronet.errors import UnreadableScan

UNIT_MM = {"mm": 1.0, "unknown": 1.0, "meter": 1000.0, "micron": 0.001}


def load(path: Path) -> Loaded:
    """Read ``.nii`` or ``.nii.gz`` with its ``scl_slope`` and ``scl_inter`` applied.

    Raises:
        UnreadableScan: damaged, not three-dimensional, in colour, or without a usable orientation.
    """
    import nibabel

    silence_libraries()
    try:
        image = nibabel.load(path)
        if not isinstance(image, nibabel.Nifti1Image):
            raise UnreadableScan(f"{path}: this is no NIfTI file.")
        affine = _affine(image, path)
        if image.get_data_dtype().kind not in "iuf":
            raise UnreadableScan(f"{path}: values of type {image.get_data_dtype()} are no HU.")
        array = three_axes(values_of(image, path), path)
    except UnreadableScan:
        raise
    except Exception as error:
        # Whatever the parser raises on bytes that are not what they should be; its text may quote them.
        raise UnreadableScan(f"{path}: the file is damaged or no NIfTI ({type(error).__name__}).") from None
    return Loaded(array, check_grid(affine, path))


def _affine(image, path: Path) -> np.ndarray:
    header = image.header
    qform, sform = image.get_qform(coded=True), image.get_sform(coded=True)
    if qform[0] is None and sform[0] is None:
        raise UnreadableScan(f"{path}: it does not say how the patient lies (qform and sform are unset).")
    if qform[0] is not None and sform[0] is not None:
        import nibabel

        codes = [nibabel.aff2axcodes(matrix) for matrix in (qform[0], sform[0])]
        if codes[0] != codes[1]:
            raise UnreadableScan(
                f"{path}: qform says {''.join(codes[0])}, sform says {''.join(codes[1])}; set both alike."
            )
    spacing = np.sqrt((image.affine[:3, :3] ** 2).sum(axis=0))
    zooms = np.asarray(header.get_zooms()[:3], dtype=np.float64)
    if len(zooms) == 3 and not np.allclose(spacing, zooms, rtol=0.01):
        raise UnreadableScan(
            f"{path}: the affine says a spacing of {np.round(spacing, 3).tolist()}, "
            f"pixdim says {np.round(zooms, 3).tolist()}; set both alike."
        )
    unit = header.get_xyzt_units()[0]
    return np.diag([*[UNIT_MM.get(unit, 1.0)] * 3, 1.0]) @ image.affine
