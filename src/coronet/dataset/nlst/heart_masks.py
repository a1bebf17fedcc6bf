"""Heart masks out of the Commons' TotalSegmentator segmentations (DICOM SEG, one segment a structure).

TotalSegmentator 1.5.6 knows no whole heart. The mask is the union of its myocardium (of the left ventricle),
both ventricles and both atria, found by their SNOMED codes. Epicardial fat, in which the coronary arteries
run, and the great vessels are outside of it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from coronet.dataset.nlst.manifest import ManifestSeries
from coronet.errors import InputError
from coronet.io.file_listing import files_under
from coronet.io.log_redaction import silence_libraries
from coronet.io.raw_volume import LPS_TO_RAS
from coronet.io.volume import to_ras, write_nifti

_WHOLE = "80891009"
_PARTS = {
    "74281007": "myocardium",
    "87878005": "left ventricle",
    "53085002": "right ventricle",
    "82471001": "left atrium",
    "73829009": "right atrium",
}
"""SNOMED CT codes of the structures that make the heart."""


def write_heart(segmentation: Path, ct: ManifestSeries, to: Path) -> Path:
    """Write the heart of a segmentation as a NIfTI mask (uint8, RAS+) on the segmentation's own grid.

    Only the heart's segments are decoded: all hundred would fill several gigabytes.

    Args:
        segmentation: folder with the one DICOM SEG file.
        ct: the series it must have been drawn on.
        to: ``.nii.gz`` to write.

    Raises:
        InputError: it was drawn on another series, lacks a part of the heart, or cannot be read.
    """
    import highdicom

    silence_libraries()
    try:
        (path,) = files_under(segmentation)
        read = highdicom.seg.segread(path, lazy_frame_retrieval=True)
        drawn_on = {str(item.SeriesInstanceUID) for item in read.get("ReferencedSeriesSequence", ())}
        codes = {
            number: str(read.get_segment_description(number).segmented_property_type.value)
            for number in read.segment_numbers
        }
        wanted = _heart_segments(codes)
        volume = None
        if drawn_on == {ct.uid}:
            volume = read.get_volume(
                segment_numbers=wanted, combine_segments=True, relabel=True, skip_overlap_checks=True
            )
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, OSError) as error:
        raise InputError(f"the segmentation of {ct.uid} makes no volume ({type(error).__name__}).") from None
    if volume is None:
        raise InputError(f"the segmentation beside {ct.uid} was drawn on another series.")
    mask = to_ras((np.asarray(volume.array) > 0).astype(np.uint8), LPS_TO_RAS @ volume.affine)
    write_nifti(to, mask, level=1)
    return to


def _heart_segments(codes: dict[int, str]) -> list[int]:
    whole = [number for number, code in codes.items() if code == _WHOLE]
    if whole:
        return whole
    absent = [name for code, name in _PARTS.items() if code not in codes.values()]
    if absent:
        raise InputError(f"the segmentation lacks a part of the heart: {', '.join(absent)}.")
    return [number for number, code in codes.items() if code in _PARTS]
