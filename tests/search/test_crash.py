"""Kill a worker, or all of the search, and end where an unbroken search ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="finds processes under /proc"),
]
EPOCHS = 12


def start(project: Path, *arguments: str) -> subprocess.Popen[str]:
    """``coronet search heart`` in a process of its own."""
    return subprocess.Popen(
        [Path(sys.executable).with_name("coronet"), "search", "heart", "--json", *arguments],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def wait_for_checkpoint(project: Path, process: subprocess.Popen[str]) -> Path:
    """The folder of a training whose second epoch is on disk."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if found := list((project / "mlruns" / "work").glob("*/fold-1/epoch-00002.json")):
            return found[0].parent.parent
        time.sleep(0.01)
    process.kill()
    raise AssertionError(f"no checkpoint: {process.communicate()[1][-3000:]}")


def children(process: subprocess.Popen[str]) -> list[int]:
    """Process ids of the workers."""
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def holder(pids: list[int], folder: Path) -> int:
    """Which of the processes holds the lock of a trial's folder."""
    inode = (folder / "trial.lock").stat().st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        _, _, _, _, pid, place, *_ = line.replace("->", "").split()
        if int(place.rpartition(":")[2]) == inode and int(pid) in pids:
            return int(pid)
    raise AssertionError("no worker trains in the folder")


def finish(process: subprocess.Popen[str]) -> tuple[dict, str]:
    """The result as JSON, and what went to standard error."""
    out, told = process.communicate(timeout=600)
    assert process.returncode == 0, told[-3000:]
    return json.loads(out), told


def values(result: dict) -> list[tuple]:
    """Draws and values of the trials that came to an end, in order."""
    settled = [trial for trial in result["trials"] if trial["state"] in ("complete", "pruned", "failed")]
    return [(trial["state"], trial["drawn"], trial["value"]) for trial in settled]


def test_a_killed_workers_trial_is_taken_up_from_its_checkpoint(make):
    project = make(epochs=EPOCHS, pruner="none", encoders=["plain"])
    process = start(project, "--workers", "2", "--trials", "3")
    folder = wait_for_checkpoint(project, process)
    os.kill(holder(children(process), folder), signal.SIGKILL)
    result, told = finish(process)

    killed = [trial for trial in result["trials"] if trial["state"] == "killed"]
    assert len(killed) == 1
    assert killed[0]["reason"] == "its worker was killed"
    (retried,) = [trial for trial in result["trials"] if trial["retry_of"] == [killed[0]["number"]]]
    assert retried["state"] == "complete"
    assert retried["drawn"] == killed[0]["drawn"]
    assert retried["epochs"] < EPOCHS, "it did not go on, it began again"
    assert sorted(retried["reported"], key=int) == [str(step) for step in range(1, EPOCHS + 1)]
    assert "goes on after epoch" in told
    assert "ended with code -9" in told
    assert len([trial for trial in result["trials"] if trial["state"] == "complete"]) == 3


def test_a_search_killed_whole_goes_on_as_if_it_had_not_been(make):
    settings = {"epochs": EPOCHS, "startup_trials": 1, "encoders": ["plain"]}
    project = make("killed", **settings)
    process = start(project, "--trials", "3")
    wait_for_checkpoint(project, process)
    process.kill()
    process.communicate()

    result, told = finish(start(project, "--trials", "3"))
    assert "trial 0: its worker was killed; it is queued again" in told
    assert "goes on after epoch" in told
    unbroken, _ = finish(start(make("whole", **settings), "--trials", "3"))
    assert values(result) == values(unbroken)


def test_a_worker_of_another_computer_is_missed_by_its_signs_of_life(make):
    project = make(epochs=EPOCHS, heartbeat_s=1, grace_s=3, pruner="none", encoders=["plain"])
    process = start(project, "--trials", "1")
    wait_for_checkpoint(project, process)
    process.kill()
    process.communicate()
    # Its lock lies on the other computer.
    (lock,) = [
        path for path in (project / "mlruns" / "work" / "studies").glob("*/*.lock") if path.stem != "claim"
    ]
    lock.unlink()
    result, _ = finish(start(project, "--trials", "1"))
    assert [trial["state"] for trial in result["trials"]] == ["killed", "complete"]


def test_workers_end_with_the_search_that_started_them(make):
    project = make(epochs=200, pruner="none", encoders=["plain"])
    process = start(project, "--workers", "2", "--trials", "2")
    wait_for_checkpoint(project, process)
    workers = children(process)
    assert len(workers) == 2
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}/status").exists() and not _zombie(pid) for pid in workers):
        assert time.monotonic() < deadline, "a worker was left behind"
        time.sleep(0.05)


def test_a_trial_whose_workers_are_killed_again_and_again_is_given_up(make):
    project = make(epochs=200, retries=1, pruner="none", encoders=["plain"])
    for _ in range(2):
        process = start(project, "--trials", "1")
        wait_for_checkpoint(project, process)
        process.kill()
        process.communicate()
        (folder,) = (project / "mlruns" / "work").glob("*/fold-1")
        for checkpoint in folder.glob("epoch-*"):
            checkpoint.unlink()
    process = start(project, "--trials", "1")
    _, told = process.communicate(timeout=600)
    assert process.returncode == 2
    assert "its worker was killed 2 times" in told


def _zombie(pid: int) -> bool:
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
