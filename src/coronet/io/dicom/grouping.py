"""Pictures put together as series, by patient, study, series and frame of reference.

One SeriesInstanceUID on slices of two patients, studies or frames of reference is a contradiction: such
slices are one group, with the fault in words. Slices without a SeriesInstanceUID are told apart by all else
that the headers hold.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Iterable, Sequence

from coronet.io.dicom.headers import SliceHeader
from coronet.io.patient_identity import clean

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
class SeriesGroup:
    """Pictures of one series.

    Attributes:
        uid: SeriesInstanceUID, or empty where there is none.
        key: tells this group from others of the same files; holds no header value.
        pictures: in the order of the files.
        fault: why they make no series, without any identifier; empty where they do.
    """

    uid: str
    key: str
    pictures: tuple[SliceHeader, ...]
    fault: str = ""


def group_slices(pictures: Iterable[SliceHeader]) -> list[SeriesGroup]:
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


def _group(key: tuple[str, ...], found: Sequence[tuple[SliceHeader, Origin]]) -> SeriesGroup:
    pictures, origins = tuple(picture for picture, _ in found), [origin for _, origin in found]
    digest = hashlib.sha256("\0".join(key).encode(errors="surrogateescape")).hexdigest()[:16]
    if len(key) == 1:
        return SeriesGroup(key[0], digest, pictures, _contradiction(origins))
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
    return SeriesGroup("", digest, pictures, fault)


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
