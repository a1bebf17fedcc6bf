"""Files of a folder that may hold scans."""

from __future__ import annotations

import os
from pathlib import Path

from coronet.errors import UnreadableScan
from coronet.files import is_debris


def files_under(path: Path, *, nested: bool = True) -> tuple[Path, ...]:
    """Files of a folder, and of sub-folders where ``nested``, or the file itself.

    Hidden files and what file managers add are left out, and so are named pipes, devices and sockets, which a
    reader would wait for. A link whose file is absent and a folder that cannot be listed are in the result:
    opening them fails, so that nothing is missed in silence.

    Raises:
        UnreadableScan: ``path`` itself is a pipe, device or socket.
    """
    if path.is_file():
        return (path,)
    if path.exists() and not path.is_dir():
        raise UnreadableScan(f"{path}: it is a named pipe, device or socket; give a file or folder.")
    found: list[Path] = []
    visited = set()
    locked: list[str] = []

    def remember(error: OSError) -> None:
        locked.append(str(error.filename))

    for folder, folders, names in os.walk(path, followlinks=True, onerror=remember):
        here = os.path.realpath(folder)
        folders[:] = sorted(name for name in folders if nested and is_content(name))
        if here in visited:
            folders.clear()
            continue
        visited.add(here)
        found += [Path(folder) / name for name in sorted(names) if is_content(name)]
    return tuple(file for file in [*found, *map(Path, locked)] if not _is_special(file))


def is_content(name: str) -> bool:
    """Whether a name is neither hidden nor one of a file manager."""
    return not name.startswith(".") and not is_debris(name)


def _is_special(path: Path) -> bool:
    """Whether a path leads to a pipe, device or socket."""
    return not (is_absent(path) or path.is_file() or path.is_dir())


def is_absent(path: Path) -> bool:
    """Whether a path is a link to a file that is absent, or cannot be looked at."""
    return not os.path.exists(path)
