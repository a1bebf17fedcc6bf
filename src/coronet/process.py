"""What this process has to do with the one that started it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PARENT_DEATH_SIGNAL = 1
"""Of prctl(2): be told of the parent's end."""


def end_with_parent(parent: int | None = None) -> None:
    """Let this process be ended when the one that started it ends, so that nothing is left behind.

    Linux only; elsewhere it does nothing, and a trainer left behind holds the lock of its work folder.

    Args:
        parent: process id of the one that started it, where it is known; if that has ended by now, this
            process ends at once.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PARENT_DEATH_SIGNAL, signal.SIGTERM)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)
