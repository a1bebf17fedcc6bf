"""CT series out of DICOM files: found by their headers, decoded once, put into HU."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from coronet.cohort.formats.identifiers import Identifiers, text_of
from coronet.cohort.formats.loaded import Loaded
from coronet.cohort.formats.pictures import Damaged, NotUsable, Picture, files_under, pictures_of
from coronet.cohort.formats.pixels import Decoder
from coronet.cohort.formats.stacking import sort_places, stack_affine
from coronet.errors import UnreadableScan

if TYPE_CHECKING:
    from pydicom import Dataset

KERNEL = re.compile(
    r"[A-Za-z]{1,3}\d{0,3}[a-z]?\+?|STANDARD|SOFT|DETAIL|LUNG|BONE|BONEPLUS|EDGE|CHEST|CHST|BODY"
)
"""Shapes of kernel names that scanners write; free text in the tag is not kept."""

TUBE_KV = (20.0, 400.0)
"""Tube voltages that occur."""

NO_IDENTITY = ("", "0", "anon", "anonymous", "anonymized", "anonymised", "none", "unknown", "patient", "test")


@dataclasses.dataclass(frozen=True, eq=False)
class Series:
    """The pictures of one series that can be used, and why it cannot be read, where that is so."""

    uid: str
    number: int
    pictures: tuple[Picture, ...]
    fault: str = ""

    @property
    def summary(self) -> str:
        """A line that tells this series from others without naming the patient."""
        first = self.pictures[0]
        kernel = kernel_name(first.dataset)
        thickness = "" if first.thickness_mm is None else f", {first.thickness_mm:g} mm thick"
        spacing = " × ".join(f"{value:.3g}" for value in first.spacing_mm)
        named = f", kernel {kernel}" if kernel else ""
        return f"{len(self.pictures)} slices of {spacing} mm{thickness}{named}"


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
    """What lies under a path: CT series, sorted by number, and counts of what is passed over or damaged."""

    series: tuple[Series, ...]
    skipped: Mapping[str, int]
    damaged: Mapping[str, int]


def find_series(path: Path, *, nested: bool = True) -> Found:
    """Sort all DICOM files under ``path`` by series, reading headers only; sub-folders where ``nested``.

    A damaged file condemns the series of its folder: which slice it was is not known.
    """
    pictures: dict[str, list[Picture]] = {}
    skipped: Counter[str] = Counter()
    damaged: Counter[str] = Counter()
    bad_folders: dict[Path, str] = {}
    for file in files_under(path, nested=nested):
        try:
            for picture in pictures_of(file):
                pictures.setdefault(str(picture.dataset.get("SeriesInstanceUID", "")), []).append(picture)
        except NotUsable as reason:
            skipped[str(reason)] += 1
        except (Damaged, OSError) as reason:
            fault = str(reason) if isinstance(reason, Damaged) else type(reason).__name__
            damaged[fault] += 1
            bad_folders[file.parent] = fault
    series = []
    for uid, members in pictures.items():
        folders = {item.path.parent for item in members}
        fault = next((reason for folder, reason in bad_folders.items() if folder in folders), "")
        series.append(Series(uid, int(members[0].dataset.get("SeriesNumber") or 0), tuple(members), fault))
    return Found(tuple(sorted(series, key=lambda item: (item.number, item.uid))), skipped, damaged)


def choose(found: Found, where: str, series: int | str | None = None) -> Series:
    """The one series that is meant.

    Args:
        found: of `find_series`.
        where: the path to name in an error.
        series: its place in the list that the error prints, counted from 1, or its SeriesInstanceUID.

    Raises:
        UnreadableScan: there is no CT series, or several and none is chosen.
    """
    if not found.series:
        raise UnreadableScan(f"{where}: no CT volume in it ({describe(found)}).")
    lines = [f"{index}: {item.summary}" for index, item in enumerate(found.series, 1)]
    listed = "; ".join([*lines[:12], *([f"and {len(lines) - 12} more"] if len(lines) > 12 else [])])
    if series is not None:
        chosen = [
            item
            for index, item in enumerate(found.series, 1)
            if str(series).strip() in (str(index), item.uid)
        ]
        if not chosen:
            raise UnreadableScan(f"{where}: there is no series {series}; there are {listed}.")
        return chosen[0]
    volumes = [item for item in found.series if len(item.pictures) > 1] or list(found.series)
    if len(volumes) > 1:
        raise UnreadableScan(
            f"{where}: {len(found.series)} series in it; choose one by its number (--series): {listed}."
        )
    return volumes[0]


def describe(found: Found) -> str:
    """Counts of what is no CT picture, for people."""
    counts = [f"{count} × {reason}" for reason, count in sorted({**found.skipped, **found.damaged}.items())]
    return ", ".join(counts) or "no files"


def load(series: Series, where: str) -> Loaded:
    """Decode a series into HU, each file once.

    Returns:
        int16 where all HU are whole and fit, else float32; index order (column, row, slice).

    Raises:
        UnreadableScan: a file is damaged, or the slices make no even, upright grid.
    """
    if series.fault:
        raise UnreadableScan(f"{where}: a file beside its slices is damaged ({series.fault}); copy it anew.")
    places = sort_places(series.pictures, where)
    affine = stack_affine([place[0] for place in places], where)
    whole = all(item.whole for item in series.pictures)
    first = series.pictures[0].dataset
    stack = np.empty((len(places), int(first.Rows), int(first.Columns)), np.int16 if whole else np.float32)
    with Decoder(where) as decoder:
        for index, place in enumerate(places):
            hu = decoder.hu(place[0])
            for twin in place[1:]:
                if not np.array_equal(hu, decoder.hu(twin)):
                    raise UnreadableScan(
                        f"{where}: two different pictures of one place ({place[0].depth_mm:.1f} mm along the "
                        "slice axis); export one reconstruction on its own."
                    )
            if stack.dtype == np.int16 and (hu.min() < -32768 or hu.max() > 32767):
                stack = stack.astype(np.float32)
            stack[index] = hu
    return Loaded(stack.transpose(2, 1, 0), affine)


def identity(series: Series) -> str:
    """Who was scanned, as the header says it: PatientID, or the study where that is blank. Never written."""
    dataset = series.pictures[0].dataset
    patient = known_patient(dataset)
    if patient:
        return f"patient {patient}"
    study = text_of(dataset, "StudyInstanceUID")
    return f"study {study}" if study else ""


def known_patient(dataset: Dataset) -> str:
    """PatientID, or an empty text where it names nobody in particular."""
    patient = text_of(dataset, "PatientID")
    return "" if patient.lower() in NO_IDENTITY else patient


def identifiers(series: Series) -> Identifiers:
    """What other objects of the same scan must share with it."""
    dataset = series.pictures[0].dataset
    return Identifiers(
        patient=known_patient(dataset),
        study=text_of(dataset, "StudyInstanceUID"),
        frame_of_reference=text_of(dataset, "FrameOfReferenceUID"),
        series=frozenset(filter(None, [text_of(dataset, "SeriesInstanceUID")])),
    )


def kernel_name(dataset: Dataset) -> str:
    """ConvolutionKernel where it looks like a kernel's name, else an empty text."""
    value = dataset.get("ConvolutionKernel") or ""
    first = str(value if isinstance(value, str) else next(iter(value), "")).strip()
    return first if KERNEL.fullmatch(first) else ""


def tube_kv(pictures: Sequence[Picture]) -> float | None:
    """Tube voltage in kV, or None where the header does not say one that a CT scanner has."""
    value = pictures[0].dataset.get("KVP")
    voltage = float(value) if isinstance(value, int | float) else 0.0
    return voltage if TUBE_KV[0] <= voltage <= TUBE_KV[1] else None
