"""What DVC keeps of its own in a project."""

from __future__ import annotations

import contextlib
import json
import logging
from pathlib import Path

from coronet.errors import Busy
from coronet.files import exclusive

logger = logging.getLogger("coronet")


def remove_broken_rwlock(project: Path = Path()) -> bool:
    """Remove DVC's list of who reads and writes what where a kill or a full disk has left it broken.

    DVC refuses to run on such a file, and makes a new one where it is absent. Its writer holds the lock
    beside it; so does this function.

    Args:
        project: the folder of ``.dvc``.

    Returns:
        Whether it was broken.
    """
    folder = Path(project) / ".dvc" / "tmp"
    content = folder / "rwlock"
    if not content.is_file():
        return False
    with contextlib.suppress(Busy), exclusive(folder / "rwlock.lock"):
        try:
            broken = not _is_rwlock(json.loads(content.read_bytes()))
        except ValueError:
            broken = True
        if broken:
            content.unlink()
            logger.warning("DVC's list of locks (.dvc/tmp/rwlock) was broken by a kill; it is made anew")
        return broken
    return False


def _is_rwlock(value: object) -> bool:
    from dvc.rwlock import SCHEMA
    from voluptuous import Invalid

    try:
        SCHEMA(value)
    except Invalid:
        return False
    return True
