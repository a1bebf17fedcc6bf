"""Series of the Commons on disk: whole and verified, or under a name that says they are not."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from coronet.dataset.nlst.manifest import ManifestSeries
from coronet.dataset.nlst.object_store import Store, StoredFile
from coronet.errors import InputError
from coronet.io.file_listing import files_under
from coronet.io.header_numbers import read_numbers
from coronet.io.log_redaction import silence_libraries

_CONNECTIONS = 8
_SIZE_TOLERANCE = 0.02  # fraction by which a series may differ from the size that the manifest states

_TAGS = ["SeriesInstanceUID", "SOPInstanceUID", "ImagePositionPatient", "ImageOrientationPatient"]


def series_folder(downloads: Path, series: ManifestSeries) -> Path:
    """Where a series lies once it is whole; until then ``.part`` follows the name."""
    return Path(downloads) / series.uuid


def fetch_series(
    store: Store,
    series: ManifestSeries,
    downloads: Path,
    *,
    progress: Callable[[int], None] = lambda count: None,
) -> Path:
    """Download a series, or what is missing of it, into its folder in ``downloads``.

    Every file is checked against the store's list (size and MD5) and parsed as DICOM; ``progress`` is called
    with the bytes that are there, as they come.

    Raises:
        Unreachable: the store does not answer.
        InputError: the series is not complete there, or its files are damaged or belong to another one.
    """
    folder = series_folder(downloads, series)
    if folder.exists():
        progress(sum(file.stat().st_size for file in folder.iterdir()))
        return folder
    part = folder.with_name(f"{folder.name}.part")
    files = store.files(series.bucket, series.uuid)
    _check_list(files, series)
    part.mkdir(parents=True, exist_ok=True)
    _remove_strangers(part, files)
    lock = threading.Lock()

    def locked(count: int) -> None:
        with lock:
            progress(count)

    def fetch(file: StoredFile) -> None:
        path = part / file.name
        if path.exists() and path.stat().st_size == file.size:
            locked(file.size)
        else:
            store.fetch(file, path, progress=locked)

    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        waiting = [pool.submit(fetch, file) for file in files]
        try:
            for done in waiting:
                done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    try:
        check_series(part, series)
    except InputError:
        # Checked against the store's list, it will not get better: what is there is not the series.
        shutil.rmtree(part)
        raise
    part.rename(folder)
    return folder


def check_series(folder: Path, series: ManifestSeries) -> float | None:
    """Parse the headers of all files of a series: median distance of slices in mm, None where it has none.

    Raises:
        InputError: a file is no DICOM, is of another series, or is there twice; or some are missing.
    """
    import pydicom

    silence_libraries()
    places, instances = [], set()
    paths = files_under(folder, nested=False)
    if len(paths) != series.files:
        raise InputError(f"series {series.uid}: {len(paths)} of {series.files} files are there.")
    for path in paths:
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
            read_numbers(header)
            found, instance = str(header.SeriesInstanceUID), str(header.SOPInstanceUID)
            place, axes = header.get("ImagePositionPatient"), header.get("ImageOrientationPatient")
            if place and axes:
                normal = np.cross(np.asarray(axes[:3], float), np.asarray(axes[3:], float))
                places.append(float(np.asarray(place, float) @ normal))
        except (OSError, ValueError, TypeError, AttributeError, pydicom.errors.InvalidDicomError) as error:
            raise InputError(
                f"series {series.uid}: {path.name} is no readable DICOM file ({type(error).__name__})."
            ) from None
        if found != series.uid:
            raise InputError(f"series {series.uid}: {path.name} belongs to another series.")
        if instance in instances:
            raise InputError(f"series {series.uid}: a file is there twice.")
        instances.add(instance)
    steps = np.diff(np.sort(places))
    return float(np.median(steps)) if steps.size else None


def _check_list(files: tuple[StoredFile, ...], series: ManifestSeries) -> None:
    if len(files) != series.files:
        raise InputError(f"series {series.uid}: the store holds {len(files)} of {series.files} files.")
    stored = sum(file.size for file in files) / 1e6
    if abs(stored - series.size_mb) > _SIZE_TOLERANCE * series.size_mb + 0.01:
        raise InputError(
            f"series {series.uid}: the store holds {stored:.1f} MB, the manifest says {series.size_mb:.1f}."
        )


def _remove_strangers(part: Path, files: tuple[StoredFile, ...]) -> None:
    wanted = {file.name for file in files} | {f"{file.name}.part" for file in files}
    for path in part.iterdir():
        if path.name not in wanted:
            path.unlink()
