"""How a process keeps the memory that it has freed. Every command imports it, so it imports little."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Mapping

_MOST_MAPPINGS, _MAPPED_FROM, _TRIM_THRESHOLD = -4, -3, -1
"""Of mallopt(3): how many blocks may have pages of their own, from how many bytes on they have, and how much
free memory is kept."""


def keep_memory() -> None:
    """Let this process use its freed memory again in place of giving it back to the system; for training.

    Every step makes and frees the same hundreds of megabytes. To get them from the system as zeroed pages
    each time takes up to a fifth of a step. glibc only; elsewhere it does nothing.
    """
    _tune_malloc({_MOST_MAPPINGS: 0, _TRIM_THRESHOLD: 2**30})


def keep_window_memory() -> None:
    """The same for a window's features alone; for commands that score. Whole scans are still given back."""
    _tune_malloc({_MAPPED_FROM: 2**25, _TRIM_THRESHOLD: 2**26})


def _tune_malloc(options: Mapping[int, int]) -> None:
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        for option, value in options.items():
            libc.mallopt(option, value)
