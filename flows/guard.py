"""Run a command that is killed when the process that asked for it ends: ``python guard.py PID COMMAND…``

Linux only; elsewhere the command runs as it is. A stage of DVC follows by `coronet.process.end_with_parent`.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PARENT_DEATH_SIGNAL = 1
"""Of prctl(2); it stays over execve(2)."""


def die_with_parent(parent: int) -> None:
    """Be killed when the parent ends, however it ends; end at once where it has ended already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
