"""Files of a folder that may hold scans, and which of them are DICOM files by their first bytes."""

from __future__ import annotations

import os
from pathlib import Path

from coronet.errors import UnreadableScan
from coronet.files import is_debris

_FIRST_ELEMENTS = 3
_FIRST_GROUPS = (0x0002, 0x0008)
_UNDEFINED_LENGTH = 0xFFFFFFFF
_LONG_VRS = b"OB OD OF OL OV OW SQ SV UC UN UR UT UV"
_SHORT_VRS = b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US"


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
    locked: list[OSError] = []
    for folder, folders, names in os.walk(path, followlinks=True, onerror=locked.append):
        here = os.path.realpath(folder)
        folders[:] = sorted(name for name in folders if nested and is_content(name))
        if here in visited:
            folders.clear()
            continue
        visited.add(here)
        found += [Path(folder) / name for name in sorted(names) if is_content(name)]
    found += [Path(str(error.filename)) for error in locked]
    # neither pipe, device nor socket
    return tuple(file for file in found if is_absent(file) or file.is_file() or file.is_dir())


def is_content(name: str) -> bool:
    """Whether a name is neither hidden nor one of a file manager."""
    return not name.startswith(".") and not is_debris(name)


def is_absent(path: Path) -> bool:
    """Whether a path is a link to a file that is absent, or cannot be looked at."""
    return not os.path.exists(path)


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM does, with or without the preamble."""
    return has_preamble(path) or _begins_with_elements(path)


def has_preamble(path: Path) -> bool:
    """Whether a file begins with 128 bytes and ``DICM``."""
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _begins_with_elements(path: Path) -> bool:
    """Whether a file begins with data elements whose tags rise and whose values end within the file."""
    # Raw volumes and label maps begin with any bytes, those of a DICOM tag among them.
    size = path.stat().st_size
    before = (0, 0)
    with path.open("rb") as stream:
        for _ in range(_FIRST_ELEMENTS):
            head = stream.read(12)
            if len(head) < 8:
                return False
            tag = (int.from_bytes(head[:2], "little"), int.from_bytes(head[2:4], "little"))
            if tag <= before or tag[0] not in _FIRST_GROUPS:
                return False
            if head[4:6] in _LONG_VRS.split():
                start, length = 12, int.from_bytes(head[8:12], "little")
            elif head[4:6] in _SHORT_VRS.split():
                start, length = 8, int.from_bytes(head[6:8], "little")
            else:
                start, length = 8, int.from_bytes(head[4:8], "little")
            if length == _UNDEFINED_LENGTH:
                return True
            end = stream.tell() - len(head) + start + length
            if length % 2 or end > size:
                return False
            stream.seek(end)
            before = tag
    return True
