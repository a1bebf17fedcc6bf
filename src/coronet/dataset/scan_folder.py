"""A folder of scans as it lies on disk, and the private record of what became of each file in it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from coronet.errors import InputError, UnreadableScan
from coronet.io.dicom import series as dicom
from coronet.io.file_listing import files_under, is_absent, is_content
from coronet.io.reader import Scan, is_volume, read_scan, read_series
from coronet.json_lines import append_line, read_lines

LOOSE = "."
"""Name of the entry that stands for the files of the folder itself."""
ANONYMOUS = "the scan"
"""What errors call a scan here, since they go into tables and logs."""


@dataclasses.dataclass(frozen=True)
class FolderEntry:
    """What is searched for scans at once: a volume file, a sub-folder with all below it, or loose files."""

    name: str  # in the folder, or `LOOSE`
    path: Path  # of the file or folder
    stamp: str  # changes with the names, sizes and times of its files
    changed: float  # when the last of its files was written or put there, in seconds since 1970

    @contextlib.contextmanager
    def on_disk(self) -> Iterator[FolderEntry]:
        """The entry on this machine's disk; one that lies elsewhere is there as long as the context lasts."""
        yield self


@dataclasses.dataclass(frozen=True)
class FolderSource:
    """One scan of an entry."""

    label: str  # tells it from others of the entry; private
    read: Callable[[], Scan]  # reads it; errors of it may still hold a path
    names: tuple[str, ...] = ()  # what must not be repeated of such an error


def find_entries(folder: Path) -> tuple[FolderEntry, ...]:
    """What lies in a folder, sorted by name.

    Raises:
        InputError: there is no such folder, or nothing in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder of scans.")
    items = sorted(item for item in folder.iterdir() if is_content(item.name))
    found = [_entry(item.name, item, files_under(item)) for item in items if item.is_dir() or is_volume(item)]
    loose = [item for item in items if (item.is_file() or is_absent(item)) and not is_volume(item)]
    if loose:
        found.append(_entry(LOOSE, folder, loose))
    if not found:
        raise InputError(f"{folder} is empty; there is nothing to score.")
    return tuple(found)


def path_entry(name: str, path: Path) -> FolderEntry:
    """A volume file, or a folder with all below it, as an entry.

    Raises:
        InputError: it is absent.
    """
    if not path.exists():
        raise InputError(f"{path} is absent.")
    return _entry(name, path, files_under(path) if path.is_dir() else (path,))


def find_sources(entry: FolderEntry) -> tuple[FolderSource, ...]:
    """The scans of an entry; what looks like a scan and is damaged counts as one that cannot be read."""
    nested = entry.name != LOOSE
    if nested and not entry.path.is_dir():
        return (_volume(entry.path, entry.name),)
    files = files_under(entry.path) if nested else ()
    found = [_volume(file, str(file.relative_to(entry.path))) for file in files if is_volume(file)]
    series = dicom.find_series(entry.path, nested=nested)
    for item in series.series:
        nameless = dataclasses.replace(item, fault_files=())
        label = f"series {item.uid or item.key}"
        found.append(FolderSource(label, functools.partial(read_series, nameless, ANONYMOUS)))
    if series.stray:
        reason = f"{len(series.stray)} damaged files ({series.stray_faults})."
        found.append(_lost("damaged files", reason))
    if nested and not found:
        found.append(_lost("no scan", f"no scan in it ({dicom.describe_series(series)})."))
    return tuple(found)


def _volume(file: Path, label: str) -> FolderSource:
    return FolderSource(label, lambda: read_scan(file), (str(file), file.name))


def _lost(label: str, reason: str) -> FolderSource:
    def read() -> Scan:
        raise UnreadableScan(f"{ANONYMOUS}: {reason}")

    return FolderSource(label, read)


def _entry(name: str, path: Path, files: Sequence[Path]) -> FolderEntry:
    digest, changed = hashlib.sha256(), 0.0
    for file in files:
        # A link to an absent file has times of its own.
        facts = file.lstat() if is_absent(file) else file.stat()
        digest.update(f"{file}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode(errors="surrogateescape"))
        # What is copied may bring its time along; the system's own time of change tells when it came.
        changed = max(changed, facts.st_mtime, facts.st_ctime)
    return FolderEntry(name, path, digest.hexdigest()[:32], changed)


@dataclasses.dataclass(frozen=True)
class ScanOutcome:
    """What is known of one source: its scan, why that has no score, and how often it was begun in vain."""

    scan: str = ""
    reason: str = ""
    starts: int = 0


class OutcomeJournal:
    """One line an event, appended and synced, for its owner's eyes alone.

    A line that a kill has cut off is passed over. Records of an entry whose files have changed are forgotten.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._records: dict[tuple[str, str], dict[str, ScanOutcome]] = {}
        self._whole: set[tuple[str, str]] = set()
        for event in read_lines(path, keys=("entry", "stamp")):
            self._apply(event)

    def is_whole(self, entry: FolderEntry) -> bool:
        """Whether every scan of the entry has been taken to its end."""
        return (entry.name, entry.stamp) in self._whole

    def records(self, entry: FolderEntry) -> dict[str, ScanOutcome]:
        """What is known of each source, by its label."""
        return dict(self._records.get((entry.name, entry.stamp), {}))

    def record(self, entry: FolderEntry, label: str) -> ScanOutcome:
        """What is known of one source."""
        return self.records(entry).get(label, ScanOutcome())

    def begin(self, entry: FolderEntry, label: str) -> None:
        """A source is begun."""
        self._write(entry, label=label, starts=self.record(entry, label).starts + 1)

    def leave(self, entry: FolderEntry, label: str) -> None:
        """A source was left without blame, as when the user stops the run."""
        self._write(entry, label=label, starts=self.record(entry, label).starts - 1)

    def end(self, entry: FolderEntry, label: str, scan: str, *, reason: str = "") -> None:
        """A source is scored, or it is known why it cannot be."""
        self._write(entry, label=label, scan=scan, reason=reason)

    def close(self, entry: FolderEntry) -> None:
        """All sources of the entry are taken to their end."""
        self._write(entry, whole=True)

    def _write(self, entry: FolderEntry, **event: Any) -> None:
        event |= {"entry": entry.name, "stamp": entry.stamp}
        append_line(self._path, event, mode=0o600)
        self._apply(event)

    def _apply(self, event: dict[str, Any]) -> None:
        key = event["entry"], event["stamp"]
        if event.get("whole"):
            self._whole.add(key)
            return
        if "label" not in event:
            return
        outcome = ScanOutcome(event.get("scan", ""), event.get("reason", ""), event.get("starts", 0))
        self._records.setdefault(key, {})[event["label"]] = outcome
