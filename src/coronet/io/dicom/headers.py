"""Headers of DICOM files: which are CT slices, and what they say."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from coronet.io.file_listing import is_dicom
from coronet.io.header_numbers import UnreadableNumber, last_digit, name_tag, read_numbers
from coronet.io.log_redaction import silence_libraries

if TYPE_CHECKING:
    from pydicom import Dataset

_CT_CLASSES = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
_DIRECTORY = "1.2.840.10008.1.3.10"
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""As one bit or fraction a segment, and as one label map."""
_PICTURE_WORDS = {
    "localizer": ("LOCALIZER", "SCOUT", "SURVIEW", "TOPOGRAM"),
    "projection": ("PROJECTION", "MIP", "MINIP", "VRT"),
    "computed map": ("PERFUSION", "RCBF", "RCBV", "MTT", "TTP"),
}
"""Words of ImageType that tell pictures whose values are no HU of one place."""

_HU_NAMES = ("", "HU", "US", "HOUNSFIELD", "HOUNSFIELD UNIT", "HOUNSFIELD UNITS")
"""RescaleType of pictures in HU: by the standard, unspecified, and as some programs write it."""
SUFFIXES = (".dcm", ".ima", ".dicom", ".dic")
NO_DICOM = "no DICOM in it"

_MODALITIES = re.compile(
    "AR|AU|BI|BMD|CR|CT|DG|DOC|DX|ECG|EPS|ES|GM|HD|IO|IVOCT|IVUS|KO|LS|MG|MR|NM|OCT|OP|OT|PR|PT|PX|REG|RF|RG|"
    "RTDOSE|RTIMAGE|RTPLAN|RTRECORD|RTSTRUCT|RWV|SC|SEG|SM|SR|TG|US|VA|XA|XC"
)
"""Kinds of objects that messages may name; other text in the tag is not repeated."""

TAGS = [
    *("SOPClassUID", "SOPInstanceUID", "Modality", "ImageType", "PatientID", "PatientName"),
    *("PatientBirthDate", "StudyInstanceUID", "FrameOfReferenceUID"),
    *("SeriesInstanceUID", "SeriesNumber", "AcquisitionNumber", "TemporalPositionIndex"),
    *("InstanceNumber", "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames"),
    *("PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("RescaleSlope", "RescaleIntercept", "RescaleType", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("ModalityLUTSequence", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
    *("SliceThickness", "SpacingBetweenSlices"),
    *("ConvolutionKernel", "KVP", "ContrastBolusAgent", "ContrastBolusAgentSequence", "ContrastBolusRoute"),
    *("ContrastBolusAdministrationRouteSequence", "ContrastBolusIngredient", "ContrastBolusVolume"),
    *("ContrastBolusTotalDose", "ContrastBolusIngredientConcentration"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "PixelData"),
    *("FloatPixelData", "DoubleFloatPixelData"),
]
"""All that is ever parsed of a file. Names, numbers and UIDs only tell patients and series apart."""


_PIXEL_TAGS = {0x7FE00008, 0x7FE00009, 0x7FE00010}  # FloatPixelData, DoubleFloatPixelData and PixelData


class NotUsable(Exception):
    """A file that is no CT picture; the message says what it is."""


class NotDicom(NotUsable):
    """A file that is no DICOM file."""


class Damaged(Exception):
    """A CT picture that lacks what it needs; the message says what."""


@dataclasses.dataclass(frozen=True, eq=False)
class SliceHeader:
    """One slice: a file, or a frame of one."""

    path: Path
    dataset: Dataset  # its parsed tags; the pixels are still on disk
    frame: int  # index among the file's frames
    position_mm: np.ndarray  # centre of the first pixel, LPS
    along_row: np.ndarray  # unit vector, LPS
    along_column: np.ndarray  # unit vector, LPS
    spacing_mm: tuple[float, float]  # distance between pixels (along a row, along a column)
    slope: float  # of the line from stored values to HU
    intercept: float  # of the same line
    rescaled: bool  # whether the header says them; else stored values are taken for HU
    # unit of the last digit that each coordinate of the position, and of the spacing, is written with, or 0
    position_digits_mm: tuple[float, ...]
    spacing_digits_mm: tuple[float, ...]
    thickness_mm: float | None  # nominal
    nominal_steps_mm: tuple[float, ...]  # what the header says of the distance between slices; may be wrong
    acquisition: tuple[str, str]  # differs between two pictures of one place taken at different times

    @property
    def normal(self) -> np.ndarray:
        """Unit vector at right angles to the picture, LPS."""
        return np.cross(self.along_row, self.along_column)

    @property
    def whole(self) -> bool:
        """Whether whole stored values make whole HU."""
        return float(self.slope).is_integer() and float(self.intercept).is_integer()

    @property
    def depth_mm(self) -> float:
        """Place along the normal."""
        return float(self.position_mm @ self.normal)


def parse_header(path: Path) -> Dataset:
    """Parse the tags in `TAGS`; pixels stay on disk until they are asked for.

    Raises:
        NotUsable: this is no DICOM file.
        Damaged: it cannot be parsed.
    """
    import pydicom

    if not is_dicom(path):
        if path.suffix.lower() in SUFFIXES:
            raise Damaged(NO_DICOM)
        raise NotDicom("other file")
    silence_libraries()
    try:
        dataset = pydicom.dcmread(path, force=True, specific_tags=TAGS, defer_size=4096)
        read_numbers(dataset)
    except UnreadableNumber as error:
        raise Damaged(str(error)) from None
    except Exception as error:
        # Whatever the parser raises on bytes that are not what they should be; its text may quote them.
        raise Damaged(f"header cannot be parsed ({type(error).__name__})") from None
    # Each element is parsed now, where faults are expected, and not at its first use.
    for tag in set(dataset.keys()) - _PIXEL_TAGS:
        try:
            dataset[tag]
        except Exception as error:
            raise Damaged(f"{name_tag(tag)} cannot be parsed ({type(error).__name__})") from None
    return dataset


def slices_of(path: Path) -> tuple[SliceHeader, ...]:
    """The CT pictures of one file.

    Raises:
        NotUsable: it holds none.
        Damaged: it holds some, but they cannot be used.
    """
    dataset = parse_header(path)
    try:
        _require_ct(dataset)
        return tuple(_pictures(path, dataset))
    except (NotUsable, Damaged):
        raise
    except Exception as error:
        raise Damaged(f"header cannot be parsed ({type(error).__name__})") from None


def _require_ct(dataset: Dataset) -> None:
    meta = getattr(dataset, "file_meta", None)
    kind = str(dataset.get("SOPClassUID", "") or (meta or {}).get("MediaStorageSOPClassUID", ""))
    if "Modality" not in dataset and "Rows" not in dataset:
        if kind == _DIRECTORY:
            raise NotUsable("directory of files")
        raise Damaged("header ends early")
    modality = str(dataset.get("Modality", "") or ("CT" if kind in _CT_CLASSES else ""))
    if modality != "CT":
        raise NotUsable(f"{modality if _MODALITIES.fullmatch(modality) else 'unnamed'} object")
    if "Rows" not in dataset:
        if kind in _CT_CLASSES:
            raise Damaged("header ends early")
        raise NotUsable("object without a picture")
    palette = str(dataset.get("PhotometricInterpretation", "")).strip() == "PALETTE COLOR"
    if int(dataset.get("SamplesPerPixel", 1)) != 1 or palette:
        raise NotUsable("picture in colour")
    texts = map(str, many(dataset.get("ImageType")))
    kinds = {word for text in texts for word in re.split(r"[\s_]+", text.upper())}
    for name, words in _PICTURE_WORDS.items():
        if kinds.intersection(words):
            raise NotUsable(name)
    if kind.startswith(_SECONDARY_CAPTURE):
        raise NotUsable("secondary capture")
    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        raise Damaged("pixels as floating-point numbers (FloatPixelData), which are not read")
    if "PixelData" not in dataset:
        raise Damaged("no pixels")
    if dataset.get("ModalityLUTSequence"):
        raise Damaged("HU by a table (ModalityLUTSequence (0028,3000)), which is not read")
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation"):
        if not isinstance(dataset.get(keyword), int):
            raise Damaged(f"no {keyword}")
    if not 0 < dataset.BitsStored <= dataset.BitsAllocated:
        raise Damaged("BitsStored (0028,0101) and BitsAllocated (0028,0100) that contradict each other")


def _pictures(path: Path, dataset: Dataset) -> Iterator[SliceHeader]:
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or []
    count = int(dataset.get("NumberOfFrames") or 1)
    if count > 1 and len(frames) != count:
        raise Damaged("frames without a position")
    for index in range(count):
        groups = [group for group in (frames[index] if frames else None, shared) if group is not None]
        yield _picture(path, dataset, index, groups)


def _picture(path: Path, dataset: Dataset, index: int, groups: list[Dataset]) -> SliceHeader:
    def value(keyword: str, sequence: str) -> Any:
        for group in groups:
            items = group.get(sequence)
            if items and keyword in items[0]:
                return items[0].get(keyword)
        return dataset.get(keyword)

    def vector(keyword: str, sequence: str, length: int) -> tuple[np.ndarray, tuple[float, ...]]:
        written = many(value(keyword, sequence))
        numbers = np.asarray([float(number) for number in written])
        if numbers.shape != (length,) or not np.isfinite(numbers).all():
            raise Damaged(f"no {keyword}")
        return numbers, tuple(last_digit(number) for number in written)

    rescale_type = str(value("RescaleType", "PixelValueTransformationSequence") or "").strip().upper()
    if rescale_type not in _HU_NAMES:
        raise NotUsable("picture that is not in HU")
    position, position_digits = vector("ImagePositionPatient", "PlanePositionSequence", 3)
    orientation, _ = vector("ImageOrientationPatient", "PlaneOrientationSequence", 6)
    spacing, spacing_digits = vector("PixelSpacing", "PixelMeasuresSequence", 2)
    thickness = _positive(value("SliceThickness", "PixelMeasuresSequence"))
    # Its sign, where it has one, tells the direction of the stack, which positions tell as well.
    between = _positive(abs(_number(value("SpacingBetweenSlices", "PixelMeasuresSequence")) or 0.0))
    along_row, along_column = orientation[:3], orientation[3:]
    lengths = np.linalg.norm(along_row), np.linalg.norm(along_column)
    skew = max(abs(lengths[0] - 1), abs(lengths[1] - 1), abs(along_row @ along_column))
    if skew > 1e-2:
        raise Damaged("ImageOrientationPatient (0020,0037) that cannot be right")
    if (spacing <= 0).any():
        raise Damaged("PixelSpacing (0028,0030) that cannot be right")
    slope = _number(value("RescaleSlope", "PixelValueTransformationSequence"))
    slope = 1.0 if slope is None else slope
    stated = _number(value("RescaleIntercept", "PixelValueTransformationSequence"))
    intercept = 0.0 if stated is None else stated
    if not (0 < abs(slope) < 1e3 and abs(intercept) < 1e5):
        raise Damaged("RescaleSlope (0028,1053) or RescaleIntercept (0028,1052) that cannot be right")
    return SliceHeader(
        path=path,
        dataset=dataset,
        frame=index,
        position_mm=position,
        along_row=along_row / lengths[0],
        along_column=along_column / lengths[1],
        # PixelSpacing names the distance between rows first.
        spacing_mm=(float(spacing[1]), float(spacing[0])),
        slope=slope,
        intercept=intercept,
        rescaled=stated is not None,
        position_digits_mm=position_digits,
        spacing_digits_mm=(spacing_digits[1], spacing_digits[0]),
        thickness_mm=thickness,
        nominal_steps_mm=tuple(step for step in (between, thickness) if step is not None),
        acquisition=(
            str(dataset.get("AcquisitionNumber") or ""),
            str(value("TemporalPositionIndex", "FrameContentSequence") or ""),
        ),
    )


def many(value: Any) -> list[Any]:
    """The values of an element that may have one, several or none."""
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str | int | float) else list(value)


def _number(value: Any) -> float | None:
    return None if value is None or value == "" else float(value)


def _positive(value: Any) -> float | None:
    """A length; None where it is absent, not above 0 or no number."""
    number = _number(value)
    return number if number is not None and 0 < number < np.inf else None
