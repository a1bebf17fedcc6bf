"""Run a command whose whole family ends with the process that asked for it.

``python guard.py PARENT_PID COMMAND…`` starts the command in a session of its own. When the parent ends,
however it ends, the system sends this process SIGTERM; when the command ends, what it left behind is ended
too, and only then does this process give the command's exit code back. So whoever waits for it knows that
nothing of the family runs any more. Linux; elsewhere only a stop that is asked for is passed on.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from typing import NoReturn

PARENT_DEATH_SIGNAL, CHILD_SUBREAPER = 1, 36
"""Of prctl(2): be told of the parent's end; be the parent of orphans below."""
PATIENCE_SECONDS = 10.0
"""For the family to end by SIGTERM before it is killed."""


def main() -> None:
    """Guard the command of ``sys.argv``."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    signal.signal(signal.SIGTERM, _stop)
    end_with_parent(parent)
    _prctl(CHILD_SUBREAPER, 1)
    # Were this process killed outright, the command would go as well. There is one thread, so it is safe.
    child = subprocess.Popen(
        command,
        preexec_fn=lambda: _prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL),  # noqa: PLW1509
    )
    code = child.wait()
    _end_family()
    sys.exit(code if code >= 0 else 128 - code)


def end_with_parent(parent: int, by: int = signal.SIGTERM) -> None:
    """Be sent a signal when the parent ends; end at once where it has ended already."""
    if _prctl(PARENT_DEATH_SIGNAL, by) and os.getppid() != parent:
        sys.exit(128 + signal.SIGTERM)


def _prctl(option: int, value: int) -> bool:
    if sys.platform != "linux":
        return False
    return ctypes.CDLL(None).prctl(option, value) == 0


def _stop(*_: object) -> NoReturn:
    """End the family here: a parent of many threads is told of more than once, and each call goes through."""
    _end_family()
    raise SystemExit(128 + signal.SIGTERM)


def _end_family() -> None:
    """End whoever is left of this session, and wait for them."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.killpg(0, signal.SIGTERM)
    latest = time.monotonic() + PATIENCE_SECONDS
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < latest:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.02)
        os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
