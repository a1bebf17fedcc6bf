"""Pictures put together as series, by patient, study, series and frame of reference.

One SeriesInstanceUID on slices of two patients, studies or frames of reference is a contradiction: such
slices are one group, with the fault in words. Slices without a SeriesInstanceUID are told apart by all else
that the headers hold.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from coronet.io.dicom.headers import SliceHeader, many
from coronet.io.patient_identity import Identifiers, Identity, clean, identity_of, read_identifiers

if TYPE_CHECKING:
    from pydicom import Dataset

_KERNEL = re.compile(
    r"[A-Za-z]{1,3}\d{0,3}[a-z]?\+?|STANDARD|SOFT|DETAIL|LUNG|BONE|BONEPLUS|EDGE|CHEST|CHST|BODY"
)
"""Shapes of kernel names that scanners write; free text in the tag is not kept."""
_TUBE_KV = (20.0, 400.0)  # tube voltages that occur
_KEYWORDS = {
    "patient": "PatientID",
    "name": "PatientName",
    "birth_date": "PatientBirthDate",
    "study": "StudyInstanceUID",
    "series": "SeriesInstanceUID",
    "frame": "FrameOfReferenceUID",
}
_CONTRADICTIONS = {
    "patient": "patients",
    "name": "patients",
    "birth_date": "patients",
    "study": "studies",
    "frame": "frames of reference",
}
_LEAST_SINGLE = 3
"""So many single slices of one series number, each with a SeriesInstanceUID of its own, were one series."""


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a picture belongs, as its header says it; empty where that is blank or a placeholder."""

    patient: str
    name: str
    birth_date: str
    study: str
    series: str
    frame: str


@dataclasses.dataclass(frozen=True, eq=False)
class DicomSeries:
    """The pictures of one series that can be used, and why it cannot be read, where that is so."""

    uid: str  # SeriesInstanceUID, or empty where there is none
    key: str  # tells this series from others of the same files; holds no header value
    pictures: tuple[SliceHeader, ...]  # its slices, in the order of the files
    fault: str = ""  # why it cannot be read, without any identifier
    fault_files: tuple[Path, ...] = ()  # what the fault was found in, for messages to the user

    @property
    def number(self) -> int:
        """SeriesNumber; 0 where there is none."""
        return int(self.pictures[0].dataset.get("SeriesNumber") or 0)

    @property
    def summary(self) -> str:
        """A line that tells this series from others without naming the patient."""
        first = self.pictures[0]
        thickness = "" if first.thickness_mm is None else f", {first.thickness_mm:g} mm thick"
        spacing = " × ".join(f"{value:.3g}" for value in first.spacing_mm)
        named = f", kernel {self.kernel}" if self.kernel else ""
        return f"{len(self.pictures)} slices of {spacing} mm{thickness}{named}"

    @property
    def kernel(self) -> str:
        """ConvolutionKernel where it looks like a kernel's name, else an empty text."""
        values = many(self.pictures[0].dataset.get("ConvolutionKernel"))
        first = str(next(iter(values), "")).strip()
        return first if _KERNEL.fullmatch(first) else ""

    @property
    def tube_kv(self) -> float | None:
        """Tube voltage in kV, or None where the header does not say one that a CT scanner has."""
        value = self.pictures[0].dataset.get("KVP")
        voltage = float(value) if isinstance(value, int | float) else 0.0
        return voltage if _TUBE_KV[0] <= voltage <= _TUBE_KV[1] else None

    @property
    def identity(self) -> Identity:
        """Who was scanned, as the headers say it: PatientID, or the study where that is no name."""
        header = self._header()
        return identity_of(
            header.get("PatientID"),
            header.get("StudyInstanceUID"),
            name=header.get("PatientName"),
            birth_date=header.get("PatientBirthDate"),
        )

    @property
    def identifiers(self) -> Identifiers:
        """What other objects of the same scan must share with it."""
        header = self._header()
        return read_identifiers(header, [header])

    def _header(self) -> Dataset:
        """Header of a slice that names the patient, or of the first one where none does."""
        headers = [item.dataset for item in self.pictures]
        return next((header for header in headers if clean(header.get("PatientID"))), headers[0])


def group_slices(pictures: Iterable[SliceHeader]) -> list[DicomSeries]:
    """Sort pictures by series."""
    known: dict[tuple[str, ...], Origin] = {}
    members: dict[tuple[str, ...], list[tuple[SliceHeader, Origin]]] = {}
    for picture in pictures:
        raw = tuple(str(picture.dataset.get(keyword) or "") for keyword in _KEYWORDS.values())
        origin = known.get(raw) or known.setdefault(raw, _origin(raw))
        key = (origin.series,) if origin.series else ("", *_rest(picture, origin))
        members.setdefault(key, []).append((picture, origin))
    return [_group(key, found) for key, found in _join_singles(members).items()]


def _origin(raw: Sequence[str]) -> Origin:
    values = dict(zip(_KEYWORDS, raw, strict=True))
    values["name"] = values["name"].replace("^", " ").casefold()
    return Origin(**{field: clean(text) for field, text in values.items()})


def _rest(picture: SliceHeader, origin: Origin) -> tuple[str, ...]:
    """What tells series apart that have no SeriesInstanceUID."""
    header = picture.dataset
    others = [str(header.get(keyword) or "") for keyword in ("SeriesNumber", "ConvolutionKernel")]
    return (*(value for field, value in dataclasses.asdict(origin).items() if field != "series"), *others)


def _join_singles(
    members: dict[tuple[str, ...], list[tuple[SliceHeader, Origin]]],
) -> dict[tuple[str, ...], list[tuple[SliceHeader, Origin]]]:
    """Put those single slices together that were one series before each got a SeriesInstanceUID."""
    alike: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for key, found in members.items():
        if key[0] and len(found) == 1:
            alike.setdefault(("single", *_rest(*found[0])), []).append(key)
    joined = dict(members)
    for rest, keys in alike.items():
        if len(keys) >= _LEAST_SINGLE:
            joined[rest] = [joined.pop(key)[0] for key in keys]
    return joined


def _group(key: tuple[str, ...], found: Sequence[tuple[SliceHeader, Origin]]) -> DicomSeries:
    pictures, origins = tuple(picture for picture, _ in found), [origin for _, origin in found]
    digest = hashlib.sha256("\0".join(key).encode(errors="surrogateescape")).hexdigest()[:16]
    if len(key) == 1:
        return DicomSeries(key[0], digest, pictures, _contradiction(origins))
    fault = ""
    folders = {picture.path.parent for picture in pictures}
    if key[0]:
        fault = (
            f"each of its {len(pictures)} slices carries a SeriesInstanceUID of its own, so that they make "
            "no series; export it again with one SeriesInstanceUID."
        )
    elif len(folders) > 1 and not origins[0].frame:
        fault = (
            f"its slices lie in {len(folders)} folders and carry neither SeriesInstanceUID nor "
            "FrameOfReferenceUID, so that they may be several scans; give one folder at a time."
        )
    return DicomSeries("", digest, pictures, fault)


def _contradiction(origins: Sequence[Origin]) -> str:
    differing = []
    for field, things in _CONTRADICTIONS.items():
        values = [value for origin in origins if (value := getattr(origin, field))]
        count = len(set(values))
        # Some exports give every single slice a frame of reference of its own, which tells nothing.
        if 1 < count < (len(values) if field == "frame" else math.inf):
            differing.append(f"{count} {things} ({_KEYWORDS[field]})")
    if not differing:
        return ""
    return (
        f"slices with one SeriesInstanceUID belong to {' and '.join(differing)}; give the files of one scan "
        "at a time, or export them with UIDs of their own."
    )
