"""The guard by itself: whatever it is sent, nobody of the family is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

GUARD = Path(__file__).resolve().parents[2] / "flows" / "guard.py"


def test_stops_that_come_in_a_burst_leave_nobody_behind(tmp_path, family, await_):
    """A parent of many threads that is killed is told of by the system more than once."""
    command = [sys.executable, "-S", str(GUARD), str(os.getpid()), "sh", "-c", "sleep 60 & sleep 60"]
    for _ in range(20):
        guard = subprocess.Popen(command, cwd=tmp_path, start_new_session=True)
        await_(lambda: [item.name() for item in family(tmp_path)].count("sleep") == 2, 20)
        while guard.poll() is None:
            guard.send_signal(signal.SIGTERM)
        left = family(tmp_path)
        for process in left:
            process.kill()
        assert not left
        assert guard.returncode == 128 + signal.SIGTERM
