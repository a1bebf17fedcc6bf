"""Files written whole or not at all, hashed and locked."""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import hashlib
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from coronet.errors import Busy, InputError

_PART = ".part-"  # how the names of files and folders begin that are still being written

_DEBRIS = (f"{_PART}*", "._*", ".DS_Store", "[Tt]humbs.db", "[Dd]esktop.ini", "__MACOSX")
"""Names that are no part of a folder's content: what a killed process left, and what file managers add.
``.dvcignore`` lists the same, so that DVC's hash of a folder and ours agree."""

ABANDONED_S = 3600.0  # a temporary file that was not written to for so long has no writer any more

_UMASK = threading.Lock()
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def sqlite_url(path: Path, *, driver: str = "pysqlite") -> str:
    """The SQLAlchemy URL of a SQLite file, whatever characters its folders have.

    SQLAlchemy decodes what a URL calls its database, so that ``a%20b`` would be the folder ``a b`` and
    ``a?b`` the folder ``a``. The driver is always named: of a URL that begins with ``sqlite:///`` MLflow
    makes the folders as they are written there, encoded.
    """
    from sqlalchemy.engine import URL

    url = URL.create(f"sqlite+{driver}", database=str(Path(path).resolve()))
    return url.render_as_string(hide_password=False)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; on success sync it and rename it to ``path``.

    The temporary name keeps the suffixes of ``path``, since some writers choose the format by them.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=_PART, suffix="".join(path.suffixes[-2:]))
    os.close(handle)
    part = Path(name)
    try:
        yield part
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.chmod(0o666 & ~_umask())
        part.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        _name_file(error, path, part)
        raise
    finally:
        part.unlink(missing_ok=True)


def _name_file(error: OSError, path: Path, part: Path) -> None:
    """Name the file in an error: a full disk names none, and a temporary name does not help."""
    if error.errno in NO_SPACE and error.filename is None:
        error.filename = str(path)
    elif error.errno and isinstance(error.filename, str) and Path(error.filename).is_relative_to(part):
        error.filename = str(path / Path(error.filename).relative_to(part))


def _umask() -> int:
    # It can only be read by setting it, and is the same for all threads.
    with _UMASK:
        mask = os.umask(0)
        os.umask(mask)
    return mask


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside ``path`` that takes its place on success."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _temporary_folder(path.parent, path) as part:
        yield part
        part.chmod(0o755)
        if path.exists():
            shutil.rmtree(path)
        part.replace(path)


@contextlib.contextmanager
def _temporary_folder(home: Path, path: Path) -> Iterator[Path]:
    """Yield a new folder in ``home``, which is removed at the end; errors name ``path`` in its place."""
    part = Path(tempfile.mkdtemp(dir=home, prefix=_PART))
    try:
        yield part
    except OSError as error:
        _name_file(error, path, part)
        raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """Yield an empty temporary folder whose files go into ``folder`` together on success; others stay there.

    Raises:
        IsADirectoryError: a folder stands where a file would go.
    """
    folder = Path(folder)
    home = next(item for item in (folder, *folder.absolute().parents) if item.is_dir())
    with _temporary_folder(home, folder) as part:
        yield part
        made = sorted(part.iterdir())
        for item in made:
            if (target := folder / item.name).is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
        folder.mkdir(parents=True, exist_ok=True)
        for item in made:
            item.replace(folder / item.name)
        sync_folder(folder)


def check_writable(folder: Path) -> None:
    """Check that files can be written into a folder, before work that takes long; nothing is made.

    Args:
        folder: it, or its nearest parent that exists, must be a folder that can be written.

    Raises:
        InputError: that is a file, a link that leads nowhere, or may not be written.
    """
    folder = Path(folder)
    place = next(item for item in (folder, *folder.absolute().parents) if os.path.lexists(item))
    if not place.is_dir():
        kind = "a file" if place.exists() else "a link that leads nowhere"
        raise InputError(f"{place} is {kind}, where a folder has to be; choose another place.")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"{place} cannot be written; change its permissions or choose another place.")


def is_debris(name: str) -> bool:
    """Whether a file or folder name matches `_DEBRIS`."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in _DEBRIS)


def content_files(folder: Path) -> list[Path]:
    """Regular files of a folder and its sub-folders without `_DEBRIS`, sorted by path."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(map(is_debris, path.relative_to(folder).parts))
    )


def remove_abandoned(folder: Path) -> None:
    """Remove temporary files that a killed process left in ``folder``; files still being written stay."""
    for part in folder.glob(f"{_PART}*"):
        with contextlib.suppress(OSError):
            if part.is_file() and time.time() - part.stat().st_mtime > ABANDONED_S:
                part.unlink()


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` last."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write ``content`` atomically."""
    with replacing(path) as part:
        part.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8 atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any, *, sort_keys: bool = True) -> None:
    """Write ``value`` as JSON; NaN is refused, since JSON has none."""
    write_text(path, json.dumps(value, indent=2, sort_keys=sort_keys, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: the file is absent, cannot be read or holds no JSON, or an object names a key twice.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"), object_pairs_hook=_once)
    except FileNotFoundError as error:
        raise InputError(f"{path} is absent.") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} holds no JSON: {error}") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON, each key of which stands in it once; Python would take the last silently."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f'the key "{next(key for key in keys if keys.count(key) > 1)}" is there twice')
    return found


def sha256_file(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def md5_file(path: Path) -> str:
    """Hex digest of a file's bytes, for those who count with md5: DVC, object stores."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


@contextlib.contextmanager
def exclusive(path: Path, *, seconds: float | None = 0.0, busy: str = "") -> Iterator[None]:
    """Hold the lock file ``path``; the operating system frees it when the process ends, however it ends.

    Args:
        path: the lock file; its folder is made where it is absent.
        seconds: how long to wait for whoever holds it; None waits for as long as it takes.
        busy: what to say where it is held all the while.

    Raises:
        Busy: another process holds it.
    """
    import filelock

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=-1 if seconds is None else seconds)
    except filelock.Timeout as error:
        busy = busy or f"{path.parent} is in use by another process; wait for it or end it."
        raise Busy(busy) from error
    try:
        yield
    finally:
        lock.release()
