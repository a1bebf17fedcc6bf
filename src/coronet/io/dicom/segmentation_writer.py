"""Masks as a DICOM segmentation on the slices of their scan."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from coronet.io.dicom import result_codes as codes
from coronet.io.dicom.source_slices import SourceSlices
from coronet.io.log_redaction import silence_libraries

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.sr.coding import Code

_SERIES_NUMBER = 9901


@dataclasses.dataclass(frozen=True)
class Algorithm:
    """A network that made a segment.

    Attributes:
        name: for people.
        version: of it.
        parameters: name and value, such as the sha256 of its weights.
    """

    name: str
    version: str
    parameters: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Segment:
    """One mask.

    Attributes:
        label: for people.
        category: of the property.
        kind: the property itself.
        mask: bool, shape (x, y, z), on the scan's grid.
        algorithm: what drew it.
        uid: by which the report speaks of it.
        region: where in the body it lies, where ``kind`` does not say it.
    """

    label: str
    category: Code
    kind: Code
    mask: np.ndarray = dataclasses.field(repr=False)
    algorithm: Algorithm
    uid: str
    region: Code | None = None


def build_segmentation(
    slices: SourceSlices, headers: Sequence[Dataset], segments: Sequence[Segment], *, description: str
) -> Dataset:
    """A binary segmentation, a frame for each slice of a segment that holds any of it.

    Args:
        slices: of the scan.
        headers: what `SourceSlices.headers` gives.
        segments: numbered from 1 in this order.
        description: of the series.
    """
    import highdicom

    silence_libraries()
    rows, columns = slices.spacing_mm
    frames, used = _frames(slices, headers, segments)
    others = [header for number, header in enumerate(headers) if number not in set(used)]
    return highdicom.seg.Segmentation(
        source_images=[headers[number] for number in used],
        further_source_images=others or None,
        pixel_array=frames,
        segmentation_type="BINARY",
        segment_descriptions=[_description(number, item) for number, item in enumerate(segments, start=1)],
        series_instance_uid=highdicom.UID(),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        # a voxel of the mask reaches halfway to the next slice, whatever the nominal thickness is
        pixel_measures=highdicom.PixelMeasuresSequence(
            pixel_spacing=[rows, columns],
            slice_thickness=slices.step_mm,
            spacing_between_slices=slices.step_mm,
        ),
        content_label="CALCIUM",
        content_description=description,
        series_description=description,
        **codes.equipment(),
    )


def _frames(
    slices: SourceSlices, headers: Sequence[Dataset], segments: Sequence[Segment]
) -> tuple[np.ndarray, list[int]]:
    """Masks as uint8, shape (frames, rows, columns, segments), and the number of the header of each frame.

    Of one file all frames are there, of several files those that hold anything: the others would fill memory.
    """
    masks = [slices.stored(segment.mask) for segment in segments]
    if len(headers) > 1:
        used = np.flatnonzero(np.any([mask.any(axis=(1, 2)) for mask in masks], axis=0)).tolist()
        return np.stack([mask[used] for mask in masks], axis=-1).astype(np.uint8), used
    # a file may hold two frames of one place; the second stays empty
    frames = np.zeros((int(headers[0].NumberOfFrames), *masks[0].shape[1:], len(masks)), np.uint8)
    for number, mask in enumerate(masks):
        frames[list(slices.frames), ..., number] = mask
    return frames, [0]


def _description(number: int, segment: Segment) -> Any:
    import highdicom
    from pydicom.sr.codedict import codes as standard

    return highdicom.seg.SegmentDescription(
        segment_number=number,
        segment_label=segment.label,
        segmented_property_category=segment.category,
        segmented_property_type=segment.kind,
        algorithm_type="AUTOMATIC",
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=segment.algorithm.name,
            family=standard.cid7162.ArtificialIntelligence,
            version=segment.algorithm.version,
            source="Coronet",
            parameters=dict(segment.algorithm.parameters),
        ),
        tracking_uid=segment.uid,
        tracking_id=segment.label,
        anatomic_regions=None if segment.region is None else [segment.region],
    )
