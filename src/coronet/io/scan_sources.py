"""Scans under a path: each volume file and each DICOM series, not yet read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from coronet.errors import UnreadableScan
from coronet.io.dicom import series as dicom
from coronet.io.file_listing import files_under
from coronet.io.patient_identity import UNKNOWN, Identity
from coronet.io.reader import LOADERS, Scan, is_volume, read_scan, read_series, suffix_of


@dataclasses.dataclass(frozen=True)
class ScanSource:
    """A scan that can be read.

    Attributes:
        where: names it in errors.
        read: reads it.
        identity: who was scanned, as the headers say it.
    """

    where: str
    read: Callable[[], Scan]
    identity: Identity = UNKNOWN


def find_scans(path: Path, *, series: int | str | None = None, refused: list[str]) -> list[ScanSource]:
    """Scans under a path: each volume file and each DICOM series.

    Args:
        path: a file or folder.
        series: take this DICOM series alone.
        refused: takes up what looks like a scan, but is damaged.

    Raises:
        UnreadableScan: there is no scan under it.
    """
    if not path.exists() or (path.is_file() and suffix_of(path) in LOADERS):
        return [_volume(path)]
    found = dicom.find_series(path)
    if series is not None or not path.is_dir():
        return [_series(dicom.choose_series(found, str(path), series), str(path))]
    sources = [_volume(file) for file in files_under(path) if is_volume(file)]
    several = len(found.series) > 1
    for number, item in enumerate(found.series, 1):
        sources.append(_series(item, f"{path} (series {number}: {item.summary})" if several else str(path)))
    if not sources:
        raise UnreadableScan(f"{path}: no scan in it ({dicom.describe_series(found)}).")
    if found.stray:
        refused.append(
            f"{path}: {len(found.stray)} damaged files ({found.stray_faults}): "
            f"{dicom.name_files(found.stray)}."
        )
    return sources


def _volume(file: Path) -> ScanSource:
    return ScanSource(str(file), lambda: read_scan(file))


def _series(series: dicom.DicomSeries, where: str) -> ScanSource:
    return ScanSource(where, lambda: read_series(series, where), dicom.identity(series))
