"""Which patient, study and place a DICOM object belongs to, so that two objects can be compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

from coronet.io.patient_identity import clean

if TYPE_CHECKING:
    from pydicom import Dataset


@dataclasses.dataclass(frozen=True)
class Identifiers:
    """Header values that two objects of one scan share; empty where a header says nothing.

    They identify a patient: they are compared in memory and never written, logged or shown.

    Attributes:
        patient: PatientID.
        study: StudyInstanceUID.
        frame_of_reference: FrameOfReferenceUID; objects that share it share their coordinates.
        series: SeriesInstanceUID of the pictures; of a segmentation, those it was drawn on.
    """

    patient: str = dataclasses.field(default="", repr=False)
    study: str = dataclasses.field(default="", repr=False)
    frame_of_reference: str = dataclasses.field(default="", repr=False)
    series: frozenset[str] = dataclasses.field(default=frozenset(), repr=False)

    def conflict(self, other: Identifiers) -> str:
        """The first thing that both state and in which they differ, in words; empty where there is none."""
        pairs = {
            "patient (PatientID)": (self.patient, other.patient),
            "study (StudyInstanceUID)": (self.study, other.study),
            "frame of reference (FrameOfReferenceUID)": (self.frame_of_reference, other.frame_of_reference),
        }
        return next((name for name, (one, two) in pairs.items() if one and two and one != two), "")

    def other_series(self, other: Identifiers) -> bool:
        """Whether both name their series and share none."""
        return bool(self.series and other.series) and not self.series & other.series


def read_identifiers(dataset: Dataset, series: Iterable[Dataset]) -> Identifiers:
    """Identifiers out of a header.

    Args:
        dataset: names patient, study and frame of reference.
        series: each names a SeriesInstanceUID.
    """
    uids = (clean(item.get("SeriesInstanceUID")) for item in series)
    return Identifiers(
        patient=clean(dataset.get("PatientID")),
        study=clean(dataset.get("StudyInstanceUID")),
        frame_of_reference=clean(dataset.get("FrameOfReferenceUID")),
        series=frozenset(filter(None, uids)),
    )
