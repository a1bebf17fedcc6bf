"""Files of JSON lines that are only ever added to, and outlive a line that was cut off."""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

logger = logging.getLogger("coronet")


def append_line(path: Path, value: Mapping[str, Any], *, mode: int = 0o666) -> None:
    """Append an object as a line of JSON; see `append_bytes`."""
    append_bytes(path, json.dumps(value).encode(), mode=mode)


def append_bytes(path: Path, line: bytes, *, mode: int = 0o666) -> None:
    """Append a line, synced to the disk; the folder is made where it is absent.

    A line before it that was cut off, by a kill or a full disk, is ended first and so swallows nothing.

    Args:
        path: the file.
        line: without its line break.
        mode: permissions of a new file.

    Raises:
        OSError: the line could not be written whole; names ``path``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    line += b"\n"
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, mode)
    try:
        size = os.lseek(handle, 0, os.SEEK_END)
        if size and os.pread(handle, 1, size - 1) != b"\n":
            line = b"\n" + line
        if os.write(handle, line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(handle)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        os.close(handle)


def read_lines(path: Path, *, keys: Collection[str] = ()) -> tuple[dict[str, Any], ...]:
    """Read the objects of a file of JSON lines, oldest first; none where there is no file.

    A line that a kill or a full disk has cut off is passed over and counted in the log.

    Args:
        path: the file.
        keys: what every object must hold.
    """
    path = Path(path)
    found, damaged = [], 0
    for line in path.read_bytes().split(b"\n") if path.exists() else ():
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if isinstance(entry, dict) and all(key in entry for key in keys):
            found.append(entry)
        else:
            damaged += 1
    if damaged:
        logger.warning("%s: damaged lines were passed over: %d", path.name, damaged)
    return tuple(found)
