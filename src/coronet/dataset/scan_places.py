"""Scans in an S3 store or in a list, as entries of a batch; see `coronet.dataset.scan_folder`."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from coronet.buckets import MANIFEST_SCHEME, SCHEME, Bucket, StoredObject
from coronet.dataset.nlst.object_store import ENDPOINT
from coronet.dataset.nlst.streaming import series_entries
from coronet.dataset.scan_folder import LOOSE, FolderEntry, find_entries, path_entry
from coronet.errors import InputError
from coronet.io.file_listing import is_content
from coronet.io.reader import has_volume_name

LIST_SUFFIX = ".txt"
_READERS = 16  # requests to a store at once


def find_scans(place: str, *, commons: str = ENDPOINT) -> tuple[FolderEntry, ...]:
    """The entries of a folder, of ``s3://BUCKET/PREFIX``, of a list, or of ``nlst:MANIFEST``.

    A list is a text file with a place a line. Lines name volume files, folders, or
    ``s3://`` places; relative paths start at the list's folder.

    Args:
        place: where they are.
        commons: address of the store that holds the series of a manifest.

    Raises:
        InputError: there is nothing to score, a line names nothing, or one is there twice.
        Unreachable: the store does not answer.
    """
    if place.startswith(SCHEME):
        return find_bucket_entries(Bucket(place))
    if place.startswith(MANIFEST_SCHEME):
        return series_entries(Path(place.removeprefix(MANIFEST_SCHEME)), commons)
    path = Path(place)
    found = _listed(path) if path.suffix == LIST_SUFFIX and path.is_file() else find_entries(path)
    # those who read it may work in other folders
    return tuple(
        item if isinstance(item, BucketEntry) else dataclasses.replace(item, path=item.path.absolute())
        for item in found
    )


def find_bucket_entries(bucket: Bucket) -> tuple[FolderEntry, ...]:
    """What lies at a place in a store: volume files, folders with all below them, and loose files.

    Raises:
        InputError: nothing is there.
        Unreachable: the store does not answer.
    """
    groups: dict[str, list[StoredObject]] = {}
    for item in bucket.list():
        parts = item.name.split("/")
        if all(map(is_content, parts)):
            name = parts[0] if len(parts) > 1 or has_volume_name(parts[0]) else LOOSE
            groups.setdefault(name, []).append(item)
    if not groups:
        raise InputError(f"{bucket.url} is empty; there is nothing to score.")
    return tuple(_bucket_entry(bucket, name, name, items) for name, items in sorted(groups.items()))


@dataclasses.dataclass(frozen=True)
class BucketEntry(FolderEntry):
    """An entry in a store; on this machine's disk only while it is scored."""

    bucket: Bucket
    objects: tuple[str, ...]  # names below the place of ``bucket``

    @contextlib.contextmanager
    def on_disk(self) -> Iterator[FolderEntry]:
        """Download the entry into a folder that is removed at the end."""
        with tempfile.TemporaryDirectory(prefix="coronet-scan-") as folder:
            for name in self.objects:
                target = Path(folder) / name
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    self.bucket.fetch(name, target)
                except FileNotFoundError:
                    raise InputError("a file of it is no longer in the store.") from None
            yield dataclasses.replace(_local(self), path=Path(folder) / self.path)


def _local(entry: FolderEntry) -> FolderEntry:
    return FolderEntry(entry.name, entry.path, entry.stamp, entry.changed)


def _bucket_entry(bucket: Bucket, name: str, path: str, items: Sequence[StoredObject]) -> BucketEntry:
    """Objects below ``path`` of a place, or the object ``path`` itself, as one entry."""
    text = "".join(f"{bucket.url}/{item.name}\0{item.size}\0{item.changed}\n" for item in items)
    stamp = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:32]
    changed = max(item.changed for item in items)
    return BucketEntry(name, Path(path), stamp, changed, bucket, tuple(item.name for item in items))


def _listed(path: Path) -> tuple[FolderEntry, ...]:
    lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{path} is empty; there is nothing to score.")
    if len(set(lines)) < len(lines):
        twice = next(line for line, count in Counter(lines).items() if count > 1)
        raise InputError(f'{path}: the line "{twice}" is there twice.')

    def entry(line: str) -> FolderEntry:
        if not line.startswith(SCHEME):
            return path_entry(line, path.parent / line)
        parent, _, name = line.rstrip("/").rpartition("/")
        bucket = Bucket(parent)
        below = [
            dataclasses.replace(item, name=f"{name}/{item.name}")
            for item in dataclasses.replace(bucket, url=line).list()
        ]
        items = below or [item for item in (bucket.info(name),) if item]
        if not items:
            raise InputError(f"{path}: {line} is absent.")
        return _bucket_entry(bucket, line, name, items)

    with ThreadPoolExecutor(_READERS) as pool:
        return tuple(pool.map(entry, lines))
