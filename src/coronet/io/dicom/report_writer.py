"""Measurements as a DICOM structured report (TID 1500) that refers to segments and slices."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from coronet.io.dicom import result_codes as codes
from coronet.io.dicom.segmentation_writer import Algorithm
from coronet.io.log_redaction import silence_libraries

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.sr.coding import Code

_SERIES_NUMBER = 9902
_LARGEST_NUMBER = 6  # decimals of a measurement


@dataclasses.dataclass(frozen=True)
class Number:
    """One measurement."""

    name: Code
    value: float
    unit: Code
    method: Code | None = None


@dataclasses.dataclass(frozen=True)
class Group:
    """Measurements of one place.

    Attributes:
        label: for people.
        uid: of the segment; a new one where there is none.
        segment: its number in the segmentation; None where nothing was found there.
        site: where in the body.
        numbers: what was measured.
        answers: questions and their coded answers.
    """

    label: str
    uid: str
    segment: int | None
    site: Code
    numbers: tuple[Number, ...]
    answers: Mapping[Code, Code]


def build_report(
    headers: Sequence[Dataset],
    segmentation: Dataset,
    groups: Sequence[Group],
    *,
    texts: Sequence[str],
    algorithm: Algorithm,
    description: str,
) -> Dataset:
    """A Comprehensive 3D SR with a measurement group for each of ``groups``.

    Args:
        headers: of the scan, what `SourceSlices.headers` gives.
        segmentation: what `build_segmentation` gives.
        groups: in this order.
        texts: comments, one item each.
        algorithm: that measured.
        description: of the series.
    """
    import highdicom
    from pydicom.sr.codedict import codes as standard

    silence_libraries()
    release = codes.equipment()["software_versions"]
    observer = highdicom.sr.ObserverContext(
        observer_type=standard.DCM.Device,
        observer_identifying_attributes=highdicom.sr.DeviceObserverIdentifyingAttributes(
            # one for each release, wherever it runs
            uid=highdicom.UID.from_uuid(str(uuid.uuid5(uuid.NAMESPACE_OID, f"coronet {release}"))),
            name="Coronet",
            manufacturer_name="Coronet",
            model_name="Coronet",
            serial_number=release,
        ),
    )
    content = highdicom.sr.MeasurementReport(
        observation_context=highdicom.sr.ObservationContext(observer_device_context=observer),
        procedure_reported=codes.PROCEDURE,
        imaging_measurements=[_group(item, headers[0], segmentation, algorithm) for item in groups],
        title=standard.DCM.ImagingMeasurementReport,
    )
    for text in texts:
        content[0].ContentSequence.append(
            highdicom.sr.TextContentItem(
                name=codes.COMMENT,
                value=text,
                relationship_type=highdicom.sr.RelationshipTypeValues.CONTAINS,
            )
        )
    return highdicom.sr.Comprehensive3DSR(
        evidence=[*headers, segmentation],
        content=content[0],
        series_instance_uid=highdicom.UID(),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        is_complete=True,
        is_final=False,
        series_description=description,
        **codes.equipment(),
    )


def _group(item: Group, header: Dataset, segmentation: Dataset, algorithm: Algorithm) -> Any:
    from highdicom import sr

    shared: dict[str, Any] = {
        "tracking_identifier": sr.TrackingIdentifier(uid=item.uid, identifier=item.label),
        "finding_type": codes.CALCIFICATION,
        "finding_sites": [sr.FindingSite(anatomic_location=item.site)],
        "algorithm_id": sr.AlgorithmIdentification(
            name=algorithm.name,
            version=algorithm.version,
            parameters=[f"{name}: {value}" for name, value in algorithm.parameters.items()],
            manufacturer="Coronet",
        ),
        "measurements": [
            sr.Measurement(
                name=number.name,
                value=round(number.value, _LARGEST_NUMBER),
                unit=number.unit,
                method=number.method,
            )
            for number in item.numbers
        ],
        "qualitative_evaluations": [
            sr.QualitativeEvaluation(name=name, value=value) for name, value in item.answers.items()
        ],
    }
    if item.segment is None:
        return sr.MeasurementsAndQualitativeEvaluations(**shared)
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        referenced_segment=sr.ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=item.segment,
            source_series=sr.SourceSeriesForSegmentation(
                referenced_series_instance_uid=header.SeriesInstanceUID
            ),
        ),
        **shared,
    )
