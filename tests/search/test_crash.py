"""Kill a worker, or all of the search, and end where an unbroken search ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest

from coronet.search import database
from coronet.search.study_record import read_study

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
        start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def wait_for_checkpoint(project: Path, process: subprocess.Popen[str]) -> Path:
    """The folder of a training whose second epoch is on disk."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        if found := list((project / "mlruns" / "work").glob("*/fold-1/epoch-00002-*.pt")):
            return found[0].parent.parent
        time.sleep(0.01)
    process.kill()
    raise AssertionError(f"no checkpoint: {process.communicate()[1][-3000:]}")


def children(process: subprocess.Popen[str]) -> list[int]:
    """Process ids of the workers."""
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def finish(process: subprocess.Popen[str]) -> tuple[dict, str]:
    """The result as JSON, and what went to standard error."""
    out, log = process.communicate(timeout=600)
    assert process.returncode == 0, log[-3000:]
    return json.loads(out), log


def test_a_killed_workers_trial_is_repeated_from_its_checkpoint(make):
    project = make(epochs=EPOCHS, pruner="none", encoders=["plain"])
    process = start(project, "--workers", "2", "--trials", "3")
    wait_for_checkpoint(project, process)
    os.kill(children(process)[0], signal.SIGKILL)
    result, log = finish(process)

    killed = [trial for trial in result["trials"] if trial["state"] == "killed"]
    assert len(killed) == 1
    assert killed[0]["reason"] == "its worker was killed"
    (retried,) = [trial for trial in result["trials"] if trial["retry_of"] == [killed[0]["number"]]]
    assert retried["state"] == "complete"
    assert retried["drawn"] == killed[0]["drawn"]
    assert sorted(retried["reported"], key=int) == [str(step) for step in range(1, EPOCHS + 1)]
    assert "ended with code -9" in log
    assert len([trial for trial in result["trials"] if trial["state"] == "complete"]) == 3


def test_a_search_that_is_killed_whole_goes_on_from_the_checkpoint(make):
    project = make(epochs=EPOCHS, pruner="none", encoders=["plain"])
    process = start(project, "--trials", "1")
    wait_for_checkpoint(project, process)
    process.kill()
    process.communicate()

    result, log = finish(start(project, "--trials", "1"))
    assert "trial 1 goes on after epoch" in log
    assert [trial["state"] for trial in result["trials"]] == ["killed", "complete"]
    assert result["trials"][1]["epochs"] < EPOCHS, "it did not go on, it began again"


@pytest.mark.parametrize("by", ["kill -9", "Ctrl-C"])
def test_workers_end_with_their_search_and_queue_their_trials_again(make, by):
    project = make(epochs=200, pruner="none", encoders=["plain"])
    process = start(project, "--workers", "2", "--trials", "2")
    wait_for_checkpoint(project, process)
    workers = children(process)
    assert len(workers) == 2
    if by == "Ctrl-C":
        os.killpg(process.pid, signal.SIGINT)
        _, log = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "Traceback" not in log
    else:
        process.kill()
        process.communicate()
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{pid}/status").exists() and not _zombie(pid) for pid in workers):
        assert time.monotonic() < deadline, "a worker was left behind"
        time.sleep(0.05)
    (name,) = optuna.get_all_study_names(f"sqlite:///{project}/mlruns/optuna.db")
    states = [trial.state for trial in read_study(database.find_study(name, project)).trials]
    assert states.count("killed") == states.count("waiting") >= 1
    assert "running" not in states or by == "kill -9"


def _zombie(pid: int) -> bool:
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True
