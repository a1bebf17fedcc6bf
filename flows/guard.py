"""Child processes that end when the process that started them does: ``python guard.py PID COMMAND…``

Linux only; elsewhere the command runs as it is. A stage of DVC follows by `coronet.process.end_with_parent`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence

_PARENT_DEATH_SIGNAL = 1  # of prctl(2); it stays over execve(2)
_PATIENCE_SECONDS = 10.0  # for a child to end by SIGTERM before it is killed


def die_with_parent(parent: int) -> None:
    """Be killed when the parent ends, however it ends; end at once where it has ended already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit(128 + signal.SIGTERM)


@contextlib.contextmanager
def guarded(command: Sequence[str], **options: object) -> Iterator[subprocess.Popen[str]]:
    """Start a command that ends when this block, or this process, does.

    Call it in the thread that waits for it: the system watches threads.
    """
    child = subprocess.Popen(
        [sys.executable, "-S", __file__, str(os.getpid()), *command],
        start_new_session=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        **options,
    )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
