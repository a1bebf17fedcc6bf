"""Where each slice of a scan is stored, so that results can refer to it and lie on its pixels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from coronet.errors import InputError
from coronet.io.dicom.headers import SliceHeader
from coronet.io.log_redaction import silence_libraries

if TYPE_CHECKING:
    from pydicom import Dataset

_NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_EMPTIED = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"),
    *("StudyDate", "StudyTime", "ReferringPhysicianName"),
)
"""Attributes that every object of a study has, empty where nothing is known (type 2)."""
_PLACE = (
    *_NEEDED,
    *("FrameOfReferenceUID", "PositionReferenceIndicator", "Modality", "ImageType", "SpecificCharacterSet"),
    *("InstanceNumber", "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "ImagePositionPatient"),
    *("ImageOrientationPatient", "PixelSpacing", "SliceThickness", "DimensionIndexSequence"),
    *("DimensionOrganizationSequence", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"),
)
"""What a reference needs; nothing here says who was scanned or when."""
_GROUPS = ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
_UNSTATED = "not stated by the scan"  # the standard asks for a method where the identity is removed
_REMOVED = "Coronet: patient, order and study emptied; UIDs retained"


@dataclasses.dataclass(frozen=True, eq=False)
class SourceSlices:
    """The stored slices of a scan, in the order of their places; one entry a place.

    Attributes:
        files: file of each slice.
        frames: index of its frame in the file.
        uids: SOPInstanceUID of each, to know the file again.
        affine: 4 × 4, index (column, row, slice) to RAS+ millimetres.
        fault: why no result can refer to them, or empty.
    """

    files: tuple[Path, ...] = dataclasses.field(repr=False)
    frames: tuple[int, ...] = dataclasses.field(repr=False)
    uids: tuple[str, ...] = dataclasses.field(repr=False)
    affine: np.ndarray = dataclasses.field(repr=False)
    fault: str = ""

    @property
    def step_mm(self) -> float:
        """Distance of neighbouring slices."""
        return float(np.linalg.norm(self.affine[:3, 2]))

    @property
    def spacing_mm(self) -> tuple[float, float]:
        """Distance between rows, and between columns."""
        along_row, along_column = np.linalg.norm(self.affine[:3, :2], axis=0)
        return float(along_column), float(along_row)

    def stored(self, mask: np.ndarray) -> np.ndarray:
        """A mask as its slices are stored.

        Args:
            mask: shape (x, y, z), RAS+, on the scan's grid.

        Returns:
            The same voxels, shape (slices, rows, columns).
        """
        from nibabel.orientations import apply_orientation, io_orientation

        turned = io_orientation(self.affine)
        back = np.empty_like(turned)
        for axis, (to, flip) in enumerate(turned):
            back[int(to)] = axis, flip
        stored: np.ndarray = apply_orientation(mask, back)
        return stored.transpose(2, 1, 0)

    def headers(self, *, anonymous: bool = False) -> list[Dataset]:
        """Headers of the files without pixels, each file once, as results are to copy them.

        Args:
            anonymous: leave out all that says who was scanned, when and where; UIDs stay.

        Raises:
            InputError: a file is gone, or is another one than was read.
        """
        import pydicom

        if self.fault:
            raise InputError(f"No DICOM result can be written: {self.fault}.")
        silence_libraries()
        found = []
        for file, uid in dict(zip(self.files, self.uids, strict=True)).items():
            try:
                header = pydicom.dcmread(file, force=True, stop_before_pixels=True)
                same = str(header.SOPInstanceUID) == uid
                # texts of results hold signs that the scan's character set may lack
                header.decode()
                header.SpecificCharacterSet = "ISO_IR 192"
            except Exception:
                # whatever the parser raises on bytes that changed; its text may quote them
                same = False
            if not same:
                raise InputError(
                    "No DICOM result can be written: files of the scan changed after it was read."
                )
            found.append(_prepared(header, anonymous=anonymous))
        _share_frame_of_reference(found)
        return found


def source_slices(places: Sequence[Sequence[SliceHeader]], affine: np.ndarray) -> SourceSlices:
    """The slices of a series.

    Args:
        places: what `coronet.io.dicom.stacking.sort_places` gives; of two of one place the first counts.
        affine: 4 × 4, index (column, row, slice) to RAS+ millimetres.
    """
    first = [place[0] for place in places]
    return SourceSlices(
        files=tuple(item.path for item in first),
        frames=tuple(item.frame for item in first),
        uids=tuple(str(item.dataset.get("SOPInstanceUID") or "") for item in first),
        affine=affine,
        fault=_fault(first),
    )


def _fault(slices: Sequence[SliceHeader]) -> str:
    for keyword in _NEEDED:
        if lacking := sum(not item.dataset.get(keyword) for item in slices):
            return f"{lacking} of {len(slices)} slices have no {keyword}, so that nothing can refer to them"
    uids = {item.path: item.dataset.SOPInstanceUID for item in slices}
    if len(set(uids.values())) < len(uids):
        return "several files have one SOPInstanceUID, so that nothing can refer to one of them"
    if len(uids) > 1 and any(int(item.dataset.get("NumberOfFrames") or 1) > 1 for item in slices):
        return f"the series is {len(uids)} objects with several frames; a segmentation refers to one"
    return ""


def _prepared(header: Dataset, *, anonymous: bool) -> Dataset:
    import pydicom

    if anonymous:
        kept = pydicom.Dataset()
        kept.file_meta = header.file_meta
        for keyword in _PLACE:
            if keyword in header:
                kept[keyword] = header[keyword]
        kept.PatientIdentityRemoved, kept.DeidentificationMethod = "YES", _REMOVED
        header = kept
    if str(header.get("PatientIdentityRemoved") or "") == "YES" and not (
        header.get("DeidentificationMethod") or header.get("DeidentificationMethodCodeSequence")
    ):
        header.DeidentificationMethod = _UNSTATED
    for keyword in _EMPTIED:
        if keyword not in header:
            setattr(header, keyword, "")
    # results name the scanner and the hospital nowhere but where the standard copies them
    for keyword in ("Manufacturer", "SpacingBetweenSlices"):
        if keyword in header:
            delattr(header, keyword)
    for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in header.get(name) or ():
            for element in list(group):
                if element.keyword not in _GROUPS:
                    del group[element.tag]
    return header


def _share_frame_of_reference(headers: Sequence[Dataset]) -> None:
    """Give all headers one FrameOfReferenceUID: theirs, or a new one where it is absent or differs."""
    import pydicom

    frames = {str(header.get("FrameOfReferenceUID") or "") for header in headers}
    frame = frames.pop() if len(frames) == 1 else ""
    frame = frame or pydicom.uid.generate_uid()
    for header in headers:
        header.FrameOfReferenceUID = frame
