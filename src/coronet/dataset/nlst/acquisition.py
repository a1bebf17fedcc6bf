"""A manifest's series brought into the cohort, one after the other: downloaded, verified, converted."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import hmac
import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from coronet.dataset.cases import scan_path
from coronet.dataset.import_masks import MaskSources
from coronet.dataset.import_messages import ImportedScan, ImportResult
from coronet.dataset.import_scans import import_scans
from coronet.dataset.nlst.download import check_series, fetch_series, series_folder
from coronet.dataset.nlst.heart_masks import write_heart
from coronet.dataset.nlst.manifest import Manifest, ManifestEntry
from coronet.dataset.nlst.object_store import ENDPOINT, Store
from coronet.dataset.nlst.selection_rules import SPACING_TOLERANCE_MM
from coronet.dataset.pseudonyms import load_key
from coronet.errors import InputError
from coronet.files import exclusive, read_json, write_json

logger = logging.getLogger("coronet")

_RECORD_NAME = ".nlst.json"
_KEPT_SHARE = 0.6  # most that a converted scan takes of its DICOM files


@dataclasses.dataclass(frozen=True)
class AcquisitionResult:
    """What became of a manifest's series."""

    # scans that are in the cohort since this run; `before` were there before it
    added: tuple[ImportedScan, ...]
    before: int
    refused: tuple[str, ...]  # series that are not in the cohort, each with the reason
    # scans without a heart mask although the Commons has a segmentation, each with the reason
    unmasked: tuple[str, ...]


def remaining(manifest: Manifest, data: Path) -> tuple[ManifestEntry, ...]:
    """Entries whose scans are not in the cohort yet."""
    record = _record(data)
    if not record:
        return manifest.entries
    key = load_key(data)
    cases = ((entry, record.get(_name(entry, key))) for entry in manifest.entries)
    return tuple(entry for entry, case in cases if case is None or not scan_path(data, case).exists())


def acquire(
    manifest: Manifest,
    *,
    data: Path,
    downloads: Path,
    endpoint: str = ENDPOINT,
    keep: bool = False,
    progress: Callable[[int], None] = lambda count: None,
) -> AcquisitionResult:
    """Download, verify and convert what is not in the cohort yet.

    The next series is downloaded while one is converted. Each is added whole or not at all, and its DICOM
    files are removed once it is in the cohort; those of a refused series stay, so that one can look at them
    and no later run downloads them again.

    Args:
        manifest: what is wanted.
        data: the cohort's folder.
        downloads: folder for DICOM files, outside of ``data``: they hold what the cohort must not.
        endpoint: address of the object store.
        keep: leave the DICOM files there.
        progress: called with the bytes that are there, as they come.

    Raises:
        Unreachable: the store does not answer; what is there is kept, and the next run goes on.
        InputError: the disk is too small.
        Busy: another process downloads into the folder or adds to the cohort.
    """
    data, downloads = Path(data), Path(downloads)
    if downloads.resolve().is_relative_to(data.resolve()):
        raise InputError(f"{downloads} lies in {data}; downloads must lie outside of the cohort.")
    store = Store(endpoint)
    with exclusive(downloads / ".lock"):
        wanted = remaining(manifest, data)
        if not keep:
            for entry in set(manifest.entries) - set(wanted):
                _remove_downloads(entry, downloads)
        _check_disk(wanted, downloads, data, keep=keep)
        for entry in wanted:
            if not all(folder.exists() for folder in _folders(entry, downloads)):
                store.probe(entry.ct.bucket)
                break
        added: list[ImportedScan] = []
        refused: list[str] = []
        unmasked: list[str] = []
        with _fetching(store, wanted, downloads, progress) as pairs:
            for entry, fetched in pairs:
                try:
                    fetched.result()
                    outcome, reason = _convert(entry, downloads, data, manifest.spacing_mm)
                except InputError as error:
                    refused.append(str(error))
                    continue
                refused += outcome.refused
                added += outcome.added
                if outcome.added:
                    case = outcome.added[0].case
                    write_json(data / _RECORD_NAME, _record(data) | {_name(entry, load_key(data)): case})
                    logger.info("%s is in the cohort", case)
                    unmasked += [f"{case}: {reason}"] if reason else []
                    if not keep:
                        _remove_downloads(entry, downloads)
    return AcquisitionResult(
        tuple(added), len(manifest.entries) - len(wanted), tuple(refused), tuple(unmasked)
    )


@contextlib.contextmanager
def _fetching(
    store: Store, entries: Sequence[ManifestEntry], downloads: Path, progress: Callable[[int], None]
) -> Iterator[Iterator[tuple[ManifestEntry, Future[None]]]]:
    """Each entry with its download; that of the next one is under way once an entry is asked for."""

    def fetch(entry: ManifestEntry) -> None:
        fetch_series(store, entry.ct, downloads, progress=progress)
        if entry.heart:
            fetch_series(store, entry.heart, downloads, progress=progress)

    def pairs(pool: ThreadPoolExecutor) -> Iterator[tuple[ManifestEntry, Future[None]]]:
        ahead = [pool.submit(fetch, entry) for entry in entries[:1]]
        for index, entry in enumerate(entries):
            ahead += [pool.submit(fetch, following) for following in entries[index + 1 : index + 2]]
            yield entry, ahead.pop(0)

    with ThreadPoolExecutor(1) as pool:
        try:
            yield pairs(pool)
        finally:
            store.stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


def _convert(
    entry: ManifestEntry, downloads: Path, data: Path, spacing_mm: tuple[float, float]
) -> tuple[ImportResult, str]:
    """Add one series; the text says why it has no heart mask, where it should have one."""
    folder = series_folder(downloads, entry.ct)
    found = check_series(folder, entry.ct)
    low, high = spacing_mm
    if found is None or not low - SPACING_TOLERANCE_MM <= found <= high + SPACING_TOLERANCE_MM:
        apart = "have no place" if found is None else f"are {found:.2f} mm apart"
        raise InputError(f"series {entry.ct.uid}: its slices {apart}; {low:g} to {high:g} mm are taken.")
    if entry.heart is None:
        return import_scans([folder], data=data), ""
    heart = downloads / f"{entry.heart.uuid}.heart.nii.gz"
    try:
        write_heart(series_folder(downloads, entry.heart), entry.ct, heart)
        outcome = import_scans([folder], data=data, masks=MaskSources(heart=heart))
        if outcome.added:
            return outcome, ""
        reason = outcome.refused[0]
    except InputError as error:
        reason = str(error)
    finally:
        heart.unlink(missing_ok=True)
    return import_scans([folder], data=data), reason


def _folders(entry: ManifestEntry, downloads: Path) -> tuple[Path, ...]:
    return tuple(series_folder(downloads, series) for series in (entry.ct, entry.heart) if series)


def _remove_downloads(entry: ManifestEntry, downloads: Path) -> None:
    for folder in _folders(entry, downloads):
        for path in (folder, folder.with_name(f"{folder.name}.part")):
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(path)


def _check_disk(entries: Sequence[ManifestEntry], downloads: Path, data: Path, *, keep: bool) -> None:
    if not entries:
        return
    sizes = [entry.size_mb / 1000 for entry in entries]
    raw = sum(sizes) if keep else 2 * max(sizes)
    converted = _KEPT_SHARE * sum(entry.ct.size_mb for entry in entries) / 1000
    data = next(folder for folder in (data.resolve(), *data.resolve().parents) if folder.exists())
    same = data.stat().st_dev == downloads.stat().st_dev
    wants = [(downloads, raw + converted)] if same else [(downloads, raw), (data, converted)]
    for folder, wanted in wants:
        free = shutil.disk_usage(folder).free / 1e9
        if free < wanted:
            raise InputError(
                f"{folder} has {free:.1f} GB free, {wanted:.1f} GB are needed; choose fewer patients."
            )


def _record(data: Path) -> dict[str, str]:
    path = Path(data) / _RECORD_NAME
    return dict(read_json(path)) if path.exists() else {}


def _name(entry: ManifestEntry, key: bytes) -> str:
    return hmac.new(key, b"series\0" + entry.ct.uid.encode(), hashlib.sha256).hexdigest()
