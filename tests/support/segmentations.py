"""DICOM segmentations made to measure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import highdicom
import numpy as np
import pydicom
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

NEEDED = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"),
    *("StudyDate", "StudyTime", "ReferringPhysicianName"),
)


def write_segmentation(
    to: Path,
    ct: Sequence[Path],
    drawn: np.ndarray,
    segments: Sequence[tuple[str, Code]],
    *,
    kind: str = "BINARY",
    change: Callable[[pydicom.Dataset], None] = lambda dataset: None,
) -> Path:
    """Write a DICOM SEG on a CT series.

    Args:
        to: file to write.
        ct: the slices, in the order of ``drawn``.
        drawn: (slices, rows, columns), where value i + 1 is ``segments[i]``; or one 0-or-1 mask a segment
            along a fourth axis, where they may overlap.
        segments: label and SNOMED code of each.
        kind: BINARY, FRACTIONAL or LABELMAP.
        change: edits the object before it is written.
    """
    described = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=Code("123037004", "SCT", "Anatomical Structure"),
            segmented_property_type=code,
            algorithm_type="MANUAL",
        )
        for number, (label, code) in enumerate(segments, start=1)
    ]
    images = [pydicom.dcmread(path) for path in ct]
    frame = generate_uid()
    for image in images:
        for keyword in NEEDED:
            image.setdefault(keyword, "")
        image.setdefault("FrameOfReferenceUID", frame)
    segmentation = highdicom.seg.Segmentation(
        source_images=images,
        pixel_array=drawn.astype(np.uint8),
        segmentation_type=kind,
        segment_descriptions=described,
        series_instance_uid=generate_uid(),
        series_number=9,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="test",
        manufacturer_model_name="test",
        software_versions="1",
        device_serial_number="1",
    )
    change(segmentation)
    segmentation.save_as(to)
    return to
