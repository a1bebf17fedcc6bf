"""Scans out of DICOM, NIfTI, NRRD and MetaImage files, in RAS+ and HU.

Values below -1024 HU do not occur in patients; scanners mark with them what lies outside their field (-2000,
-2048, -3024). They become -1024, air, so that the choice of a scanner never reaches a network or a score.
Slices with a single value at the ends of a volume hold no data and become air too; inside a volume they are
lost slices, and the scan is refused.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np

from coronet.errors import UnreadableScan
from coronet.io import metaimage, nifti, nrrd
from coronet.io.dicom import series as dicom
from coronet.io.dicom.contrast import contrast_given
from coronet.io.dicom.grouping import DicomSeries
from coronet.io.dicom.source_slices import SourceSlices, source_slices
from coronet.io.dicom.stacking import sort_places
from coronet.io.file_listing import files_under, is_absent
from coronet.io.images import Image, is_path, raw_image
from coronet.io.patient_identity import UNKNOWN, Identifiers, Identity
from coronet.io.raw_volume import RawVolume
from coronet.io.scan_facts import ScanFacts
from coronet.io.volume import AIR_HU, HIGHEST_HU, Volume, fit_dtype, to_ras

LOADERS = {
    ".nii": (nifti.load_nifti, "nifti"),
    ".nii.gz": (nifti.load_nifti, "nifti"),
    ".nrrd": (nrrd.load_nrrd, "nrrd"),
    ".nhdr": (nrrd.load_nrrd, "nrrd"),
    ".mha": (metaimage.load_metaimage, "mha"),
    ".mhd": (metaimage.load_metaimage, "mha"),
}
"""Volume files by suffix; everything else is taken for DICOM."""
_MASK_SUFFIX = ".seg.nrrd"
IN_MEMORY = "the scan in memory"

_MOST_LABELS = 64  # a picture with no more values than this, none below zero, is a label map


@dataclasses.dataclass(frozen=True)
class Scan:
    """A scan in memory.

    Attributes:
        volume: HU in RAS+.
        facts: what may be kept; ``patient`` is empty and ``flags`` are unset, both are for the caller.
        identity: who was scanned, as the header says it.
        identifiers: what a segmentation of this scan must share with it; empty where the file has none.
        slices: where its slices are stored, for results that refer to them; None where it is no DICOM.
    """

    volume: Volume
    facts: ScanFacts
    identity: Identity = UNKNOWN
    identifiers: Identifiers = dataclasses.field(default=Identifiers(), repr=False)
    slices: SourceSlices | None = dataclasses.field(default=None, repr=False)


@dataclasses.dataclass(frozen=True)
class ScanSource:
    """A scan that can be read."""

    where: str  # names it in errors
    read: Callable[[], Scan]
    identity: Identity = UNKNOWN  # who was scanned, as the headers say it


def suffix_of(path: Path) -> str:
    """``.nii.gz`` and the last suffix of other names, in lower case."""
    name = Path(path).name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def is_volume(path: Path) -> bool:
    """Whether a file, or a link to one that is absent, has the name of a volume and not that of a mask."""
    return has_volume_name(path.name) and (path.is_file() or is_absent(path))


def has_volume_name(name: str) -> bool:
    """Whether a name is that of a volume and not that of a mask."""
    return suffix_of(Path(name)) in LOADERS and not name.lower().endswith(_MASK_SUFFIX)


def read_scan(scan: Path | str | Image | Scan, *, series: int | str | None = None) -> Scan:
    """Read one scan from files, or take over an image in memory.

    Args:
        scan: a volume file, a DICOM file with several frames, or a folder with the DICOM files of one series
            (sub-folders and files of other kinds may lie in it); or an image in memory, which is copied: a
            nibabel or SimpleITK image, or a tuple (array, affine) with an affine to RAS millimetres.
        series: which series, where a folder holds several: its number in the list that the error prints, or
            its SeriesInstanceUID.

    Returns:
        The scan: HU as int16 where they are whole, else float32, in RAS+.

    Raises:
        UnreadableScan: no volume can be read, with the reason.

    Example:
        >>> import coronet
        >>> scan = coronet.read_scan("scan.nii.gz")
        >>> scan.volume.shape, scan.volume.spacing_mm
        ((112, 84, 56), (3.0, 3.0, 4.0))
    """
    if isinstance(scan, Scan):
        return scan
    if not is_path(scan):
        return Scan(_finish(raw_image(scan, IN_MEMORY), IN_MEMORY), ScanFacts(patient="", source="memory"))
    path = Path(scan)
    _check_exists(path)
    if path.is_file() and suffix_of(path) in LOADERS:
        load, source = LOADERS[suffix_of(path)]
        return Scan(_finish(load(path), str(path)), ScanFacts(patient="", source=source))
    return read_series(dicom.choose_series(dicom.find_series(path), str(path), series), str(path))


def _check_exists(path: Path) -> None:
    if not path.exists():
        gone = "the link leads to no file" if path.is_symlink() else "there is no such file or folder"
        raise UnreadableScan(f"{path}: {gone}.")


def read_series(series: DicomSeries, where: str) -> Scan:
    """Read one DICOM series; ``where`` names it in errors."""
    loaded = dicom.load_series(series, where)
    volume = _finish(loaded, where)
    first = series.pictures[0]
    facts = ScanFacts(
        patient="",
        source="dicom",
        kernel=series.kernel,
        slice_thickness_mm=first.thickness_mm,
        tube_kv=series.tube_kv,
        contrast=contrast_given({id(item.dataset): item.dataset for item in series.pictures}.values()),
    )
    slices = source_slices(sort_places(series.pictures, where), loaded.affine)
    return Scan(volume, facts, series.identity, series.identifiers, slices)


def find_scans(path: Path, *, series: int | str | None = None, refused: list[str]) -> list[ScanSource]:
    """Scans under a file or folder: each volume file and each DICOM series, or the one ``series`` alone.

    ``refused`` takes up what looks like a scan, but is damaged.

    Raises:
        UnreadableScan: it is absent, or there is no scan under it.
    """
    _check_exists(path)
    if path.is_file() and suffix_of(path) in LOADERS:
        return [ScanSource(str(path), functools.partial(read_scan, path))]
    found = dicom.find_series(path)
    if series is not None or not path.is_dir():
        return [_series_source(dicom.choose_series(found, str(path), series), str(path))]
    sources = [
        ScanSource(str(file), functools.partial(read_scan, file))
        for file in files_under(path)
        if is_volume(file)
    ]
    several = len(found.series) > 1
    for number, item in enumerate(found.series, 1):
        sources.append(
            _series_source(item, f"{path} (series {number}: {item.summary})" if several else str(path))
        )
    if not sources:
        raise UnreadableScan(f"{path}: no scan in it ({dicom.describe_series(found)}).")
    if found.stray:
        refused.append(
            f"{path}: {len(found.stray)} damaged files ({found.stray_faults}): "
            f"{dicom.name_files(found.stray)}."
        )
    return sources


def _series_source(series: DicomSeries, where: str) -> ScanSource:
    return ScanSource(where, functools.partial(read_series, series, where), series.identity)


def _finish(loaded: RawVolume, where: str) -> Volume:
    array = loaded.array
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        lost = int(array.size - np.isfinite(array).sum())
        raise UnreadableScan(f"{where}: {lost} voxels are not finite; correct them before the scan is used.")
    array = fit_dtype(array)
    _require_hu(array, where)
    volume = to_ras(array, loaded.affine)
    array = volume.array if volume.array.flags.writeable else volume.array.copy()
    np.maximum(array, AIR_HU, out=array)
    for axis in range(3):
        _clear_blank_planes(np.moveaxis(array, axis, 0), where)
    return volume.with_array(array)


def check_possible_hu(array: np.ndarray, where: str) -> None:
    """Refuse values that no scanner gives.

    Raises:
        UnreadableScan: a value lies above `HIGHEST_HU`.
    """
    # Values that are no numbers are looked at where they matter: under a mask, or in a whole scan.
    finite = np.isfinite(array) if array.dtype.kind == "f" else True
    high = np.max(array, where=finite, initial=0)
    if high > HIGHEST_HU:
        raise UnreadableScan(
            f"{where}: its values reach {high:g}, which is no HU: padding that the header does not declare, "
            "or signed values that it declares unsigned. Export the scan again."
        )


def _require_hu(array: np.ndarray, where: str) -> None:
    low, high = array.min(), array.max()
    if low == high:
        raise UnreadableScan(f"{where}: every voxel is {low}; there is no picture in it.")
    check_possible_hu(array, where)
    if low >= 0 and high < 256 and np.unique(array[::2, ::2, ::2]).size <= _MOST_LABELS:
        raise UnreadableScan(
            f"{where}: it holds labels from {low} to {high}, no HU; "
            "a mask belongs to a scan (--heart, --calcium)."
        )


def _clear_blank_planes(planes: np.ndarray, where: str) -> None:
    """Turn planes with a single value at both ends into air; ``planes`` is changed in place."""
    samples = planes[:, ::7, ::7].reshape(len(planes), -1)
    blank = (samples == samples[:, :1]).all(axis=1)
    for index in np.flatnonzero(blank):
        blank[index] = (planes[index] == planes[index, 0, 0]).all()
    full = np.flatnonzero(~blank)
    if not full.size:
        raise UnreadableScan(f"{where}: every plane of it holds a single value; there is no picture in it.")
    lost = np.flatnonzero(blank[full[0] : full[-1]]) + full[0]
    if lost.size:
        raise UnreadableScan(
            f"{where}: {lost.size} slices inside the volume hold no data (first: {lost[0] + 1}); export it "
            "whole."
        )
    planes[: full[0]] = AIR_HU
    planes[full[-1] + 1 :] = AIR_HU
