"""Files of a folder that may hold scans."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from coronet.files import is_debris


def files_under(path: Path, *, nested: bool = True) -> tuple[Path, ...]:
    """Files of a folder, and of sub-folders where ``nested``, or the file itself.

    Hidden files and what file managers add are left out, and so are named pipes, devices and sockets, which a
    reader would wait for. A link whose file is absent and a folder that cannot be listed are in the result:
    opening them fails, so that nothing is missed in silence.
    """
    if path.is_file():
        return (path,)
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
    return tuple(file for file in [*found, *map(Path, locked)] if is_readable(file) or is_absent(file))


def is_content(name: str) -> bool:
    """Whether a name is neither hidden nor one of a file manager."""
    return not name.startswith(".") and not is_debris(name)


def is_readable(path: Path) -> bool:
    """Whether a path leads to a file or folder, not to a pipe, device or socket, nor to nothing."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)


def is_absent(path: Path) -> bool:
    """Whether a path is a link to a file that is absent, or cannot be looked at."""
    try:
        path.stat()
    except OSError:
        return True
    return False
