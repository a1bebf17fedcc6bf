"""CT series out of DICOM files: found by their headers, decoded once, put into HU."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

import numpy as np

from coronet.errors import UnreadableScan
from coronet.io.dicom.grouping import DicomSeries, group_slices
from coronet.io.dicom.headers import (
    NO_DICOM,
    SUFFIXES,
    Damaged,
    NotDicom,
    NotUsable,
    SliceHeader,
    slices_of,
)
from coronet.io.dicom.pixels import SliceDecoder
from coronet.io.dicom.stacking import sort_places, stack_affine
from coronet.io.file_listing import files_under, has_preamble
from coronet.io.raw_volume import RawVolume
from coronet.io.volume import AIR_HU
from coronet.text import first_few

_NAMED, _LISTED = 3, 12  # files and series that an error names at most


@dataclasses.dataclass(frozen=True, eq=False)
class FoundSeries:
    """What lies under a path."""

    series: tuple[DicomSeries, ...]  # CT series, sorted by number
    skipped: Mapping[str, int]  # counts of what is passed over, by reason
    # files that are damaged, or may be slices and cannot be read, each with the reason
    damaged: Mapping[Path, str]

    @property
    def stray(self) -> tuple[Path, ...]:
        """Damaged files that lie beside no series."""
        beside = {file for item in self.series for file in item.fault_files}
        return tuple(file for file in self.damaged if file not in beside)

    @property
    def stray_faults(self) -> str:
        """Why those are damaged, without their names."""
        return _reasons(self.stray, self.damaged)


def find_series(path: Path, *, nested: bool = True) -> FoundSeries:
    """Sort all DICOM files under ``path`` by series, reading headers only; sub-folders where ``nested``.

    A damaged file condemns the series of its folder: which slice it was is not known. What cannot be read and
    is not named like a slice is passed over.
    """
    pictures: list[SliceHeader] = []
    skipped: Counter[str] = Counter()
    unread: dict[Path, str] = {}
    for file in files_under(path, nested=nested):
        try:
            pictures += slices_of(file)
        except NotDicom:
            unread[file] = NO_DICOM
        except NotUsable as reason:
            skipped[str(reason)] += 1
        except Damaged as reason:
            unread[file] = str(reason)
        except FileNotFoundError:
            unread[file] = "a link to a file that is absent"
        except OSError as error:
            unread[file] = f"not readable, {type(error).__name__}"
    names = {(picture.path.parent, _name_shape(picture.path)) for picture in pictures}
    damaged = {file: fault for file, fault in unread.items() if _may_be_slice(file, names)}
    skipped.update(
        "other file" if fault == NO_DICOM else fault for file, fault in unread.items() - damaged.items()
    )
    series = [_beside_damaged(group, damaged) for group in group_slices(pictures)]
    return FoundSeries(
        tuple(sorted(series, key=lambda item: (item.number, item.uid, item.key))), skipped, damaged
    )


def _beside_damaged(series: DicomSeries, damaged: Mapping[Path, str]) -> DicomSeries:
    """The series, at fault where a damaged file lies beside its slices."""
    folders = {picture.path.parent for picture in series.pictures}
    beside = tuple(file for file in damaged if file.parent in folders)
    if not beside:
        return series
    reasons = _reasons(beside, damaged)
    fault = f"a file beside its slices is damaged ({reasons}); copy it anew, or remove it if it is no slice."
    return dataclasses.replace(series, fault=fault, fault_files=beside)


def _reasons(files: Sequence[Path], damaged: Mapping[Path, str]) -> str:
    return ", ".join(sorted({damaged[file] for file in files}))


def _may_be_slice(file: Path, names: Set[tuple[Path, str]]) -> bool:
    if file.suffix.lower() in SUFFIXES or (file.parent, _name_shape(file)) in names or file.is_dir():
        return True
    try:
        return has_preamble(file)
    except OSError:
        return False


def _name_shape(file: Path) -> str:
    """The name of a file without its numbers; the slices of one export share it."""
    return re.sub(r"\d+", "#", file.name)


def choose_series(found: FoundSeries, where: str, series: int | str | None = None) -> DicomSeries:
    """The one series that is meant: ``series`` is its number in the list that the error prints, or its UID.

    Raises:
        UnreadableScan: there is no CT series, or several and none is chosen.
    """
    if not found.series:
        raise UnreadableScan(f"{where}: no CT volume in it ({describe_series(found)}).")
    lines = [f"{index}: {item.summary}" for index, item in enumerate(found.series, 1)]
    listed = first_few(lines, _LISTED, separator="; ")
    if series is not None:
        for index, item in enumerate(found.series, 1):
            if str(series).strip() in (str(index), item.uid):
                return item
        raise UnreadableScan(f"{where}: there is no series {series}; there are {listed}.")
    volumes = [item for item in found.series if len(item.pictures) > 1] or list(found.series)
    if len(volumes) > 1:
        raise UnreadableScan(
            f"{where}: {len(found.series)} series in it; choose one by its number (--series): {listed}."
        )
    return volumes[0]


def describe_series(found: FoundSeries) -> str:
    """Counts of what is no CT picture, for people."""
    reasons = Counter(found.skipped) + Counter(found.damaged.values())
    counts = [f"{count} × {reason}" for reason, count in sorted(reasons.items())]
    return ", ".join(counts) or "no files"


def name_files(files: Sequence[Path]) -> str:
    """Names of the first files of a list, and how many more there are."""
    return first_few([file.name for file in files], _NAMED)


def load_series(series: DicomSeries, where: str) -> RawVolume:
    """Decode a series into HU, each file once.

    Returns:
        int16 where all HU are whole and fit, else float32; index order (column, row, slice).

    Raises:
        UnreadableScan: a file is damaged, or the slices make no even, upright grid.
    """
    if series.fault:
        files = f" Damaged: {name_files(series.fault_files)}." if series.fault_files else ""
        raise UnreadableScan(f"{where}: {series.fault}{files}")
    places = sort_places(series.pictures, where)
    affine = stack_affine([place[0] for place in places], where)
    whole = all(item.whole for item in series.pictures)
    first = series.pictures[0].dataset
    stack = np.empty((len(places), int(first.Rows), int(first.Columns)), np.int16 if whole else np.float32)
    with SliceDecoder(where) as decoder:
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
    # Nothing but padding may be below 0, as air is.
    if not series.pictures[0].rescaled and not np.min(stack, where=stack > AIR_HU, initial=0) < 0:
        raise UnreadableScan(
            f"{where}: its slices have no RescaleIntercept (0028,1052) and no value below 0, as air has, so "
            "their HU are unknown; export the series again."
        )
    return RawVolume(stack.transpose(2, 1, 0), affine)
