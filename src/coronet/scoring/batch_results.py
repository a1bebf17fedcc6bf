"""Where the results of a batch lie: a folder, or a place in an S3 store. What is there is done."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from coronet.buckets import Bucket
from coronet.dataset.pseudonyms import load_key
from coronet.dataset.scan_folder import OutcomeJournal
from coronet.errors import InputError
from coronet.files import exclusive, read_json, replacing_folder, write_bytes, write_json
from coronet.scoring.score_with_mask import SCORE

SOURCES, SETTINGS = ".sources.jsonl", "settings.json"
_KEY = ".salt"


class BatchResults(Protocol):
    """What a batch asks of the place of its results; every method may be called by any worker."""

    @property
    def place(self) -> str:
        """What to call it."""

    def opened(self, settings: Mapping[str, Any]) -> contextlib.AbstractContextManager[OutcomeJournal]:
        """Bind the place to its settings and give the journal of earlier runs; for one process at a time."""

    def load_key(self, data: Path | None) -> bytes:
        """The key of the names, made at first use."""

    def has_score(self, scan: str) -> bool:
        """Whether a scan is done."""

    def scored(self) -> set[str]:
        """All scans that are done."""

    def read_score(self, scan: str) -> Any:
        """The content of a ``score.json``."""

    def write_scan(self, scan: str, fill: Callable[[Path], object]) -> None:
        """Write the files of a scan, ``score.json`` among them, whole or not at all."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file beside the scans."""

    def keep_journal(self) -> None:
        """Make what the journal has got since lasting."""

    def check_shared(self) -> None:
        """Check that a worker reaches the place."""


class FolderResults:
    """A folder, local or shared by all machines under one path."""

    def __init__(self, out: Path) -> None:
        self._out = Path(out).absolute()

    @property
    def place(self) -> str:
        """Its path."""
        return str(self._out)

    @contextlib.contextmanager
    def opened(self, settings: Mapping[str, Any]) -> Iterator[OutcomeJournal]:
        """See `BatchResults.opened`; what a kill has left half-written is removed.

        Raises:
            InputError: scores by other settings are there.
            Busy: another process writes to it.
        """
        with exclusive(self._out / ".lock"):
            path = self._out / SETTINGS
            if not path.exists():
                write_json(path, settings)
            else:
                _check_settings(read_json(path), settings, self.place)
            self._remove_parts()
            yield OutcomeJournal(self._out / SOURCES)
            self._remove_parts()

    def _remove_parts(self) -> None:
        for part in self._out.glob(".part-*"):
            if part.is_dir():
                shutil.rmtree(part, ignore_errors=True)
            else:
                part.unlink(missing_ok=True)

    def load_key(self, data: Path | None) -> bytes:
        """See `BatchResults.load_key`."""
        return load_key(self._out, of=data)

    def has_score(self, scan: str) -> bool:
        """See `BatchResults.has_score`."""
        return (self._out / scan / SCORE).exists()

    def scored(self) -> set[str]:
        """See `BatchResults.scored`."""
        return {path.parent.name for path in self._out.glob(f"*/{SCORE}")}

    def read_score(self, scan: str) -> Any:
        """See `BatchResults.read_score`."""
        return read_json(self._out / scan / SCORE)

    def write_scan(self, scan: str, fill: Callable[[Path], object]) -> None:
        """See `BatchResults.write_scan`."""
        try:
            with replacing_folder(self._out / scan) as part:
                fill(part)
        except OSError:
            # another worker had a copy of the scan and was first
            if not self.has_score(scan):
                raise

    def write(self, name: str, content: bytes) -> None:
        """See `BatchResults.write`."""
        write_bytes(self._out / name, content)

    def keep_journal(self) -> None:
        """Every line of it is synced as it is written."""

    def check_shared(self) -> None:
        """See `BatchResults.check_shared`.

        Raises:
            InputError: this machine does not see the folder.
        """
        if not (self._out / SETTINGS).exists():
            raise InputError(f"{self._out} is not on every machine; use a shared folder or s3://.")


class BucketResults:
    """A place in an S3 store: ``score.json`` of a scan is written last, and tells that it is whole.

    The journal is kept in pieces, one object for each time that it is made lasting. The store has no locks:
    two runs into one place at once do work twice, and come to the same files.
    """

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._journal: Path | None = None  # of the process that has opened it
        self._kept, self._pieces = 0, 0  # bytes and objects of the journal that are in the store

    @property
    def place(self) -> str:
        """Its address."""
        return self._bucket.url

    @contextlib.contextmanager
    def opened(self, settings: Mapping[str, Any]) -> Iterator[OutcomeJournal]:
        """See `BatchResults.opened`.

        Raises:
            InputError: scores by other settings are there, or access is refused.
            Unreachable: the store does not answer.
        """
        there = self._bucket.read(SETTINGS)
        if there is None:
            self.write(SETTINGS, (json.dumps(settings, indent=2, sort_keys=True) + "\n").encode())
        else:
            _check_settings(json.loads(there), settings, self.place)
        with tempfile.TemporaryDirectory(prefix="coronet-journal-") as folder:
            self._journal = Path(folder) / SOURCES
            pieces = [self._bucket.read(name) for name in self._journal_names()]
            self._journal.write_bytes(b"".join(piece or b"" for piece in pieces))
            self._pieces, self._kept = len(pieces), self._journal.stat().st_size
            try:
                yield OutcomeJournal(self._journal)
            finally:
                self.keep_journal()
                self._journal = None

    def _journal_names(self) -> list[str]:
        names = (item.name for item in Bucket(f"{self._bucket.url}/{SOURCES}", self._bucket.endpoint).list())
        return [f"{SOURCES}/{name}" for name in names]

    def load_key(self, data: Path | None) -> bytes:
        """See `BatchResults.load_key`."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / _KEY
            there = self._bucket.read(_KEY)
            if there is not None:
                path.write_bytes(there)
            key = load_key(Path(folder), of=data)
            if there is None:
                self.write(_KEY, path.read_bytes())
        return key

    def has_score(self, scan: str) -> bool:
        """See `BatchResults.has_score`."""
        return self._bucket.exists(f"{scan}/{SCORE}")

    def scored(self) -> set[str]:
        """See `BatchResults.scored`."""
        end = f"/{SCORE}"
        return {item.name.removesuffix(end) for item in self._bucket.list() if item.name.endswith(end)}

    def read_score(self, scan: str) -> Any:
        """See `BatchResults.read_score`."""
        content = self._bucket.read(f"{scan}/{SCORE}")
        if content is None:
            raise InputError(f"{self.place}/{scan}/{SCORE} is absent.")
        return json.loads(content)

    def write_scan(self, scan: str, fill: Callable[[Path], object]) -> None:
        """See `BatchResults.write_scan`."""
        with tempfile.TemporaryDirectory() as folder:
            part = Path(folder)
            fill(part)
            files = sorted(path for path in part.rglob("*") if path.is_file())
            for path in sorted(files, key=lambda path: path == part / SCORE):
                self.write(f"{scan}/{path.relative_to(part).as_posix()}", path.read_bytes())

    def write(self, name: str, content: bytes) -> None:
        """See `BatchResults.write`."""
        self._bucket.write(name, content)

    def keep_journal(self) -> None:
        """Write what the journal has got since as one more object."""
        if self._journal is None:
            return
        with self._journal.open("rb") as stream:
            stream.seek(self._kept)
            lines = stream.read()
        if lines:
            self.write(f"{SOURCES}/{self._pieces:06d}.jsonl", lines)
            self._pieces, self._kept = self._pieces + 1, self._kept + len(lines)

    def check_shared(self) -> None:
        """See `BatchResults.check_shared`."""
        self._bucket.exists(SETTINGS)


def _check_settings(there: Mapping[str, Any], settings: Mapping[str, Any], place: str) -> None:
    if there != settings:
        differing = ", ".join(key for key, value in settings.items() if there.get(key) != value)
        raise InputError(f"{place} holds scores by other settings ({differing}); choose another --out.")
