"""The database of studies: made once, read while it is written, shown on this computer alone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from coronet.search import database
from coronet.search.study_plan import make_study_plan

MAKE = """
import sys
from pathlib import Path
from coronet.search import database
from coronet.search.study_plan import make_study_plan

plan = make_study_plan("heart", Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
study = database.open_study(plan, "one", database.open_storage(plan.project, space=plan.params.search))
for _ in range(10):
    study.set_user_attr("counted", study.user_attrs.get("counted", 0) + 1)
"""


@pytest.mark.slow
def test_processes_that_make_one_database_at_once_get_one_study(make):
    project = make()
    started = [
        subprocess.Popen(
            [sys.executable, "-c", MAKE, str(project)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in started:
        assert process.stdout.readline() == "ready\n"
    for process in started:
        process.stdin.write("\n")
        process.stdin.flush()
    errors = [process.communicate(timeout=300)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], errors
    study = database.find_study("one", project)
    assert len(study.trials) == 1, "the present parameters wait once"


def test_a_reader_does_not_hold_up_a_writer(make):
    project = make()
    plan = make_study_plan("heart", project)
    study = database.open_study(plan, "one", database.open_storage(project))
    reading = database.open_storage(project).engine.connect()
    cursor = reading.exec_driver_sql("SELECT * FROM studies")
    started = time.monotonic()
    study.set_user_attr("written", True)
    assert time.monotonic() - started < database.LOCK_SECONDS / 2
    cursor.close()
    reading.close()


@pytest.mark.slow
def test_the_dashboard_shows_the_study_on_this_computer_alone(make):
    project = make()
    plan = make_study_plan("heart", project)
    database.open_study(plan, "shown", database.open_storage(project))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [Path(sys.executable).with_name("coronet"), "search", "dashboard", "--port", str(port)]
    process = subprocess.Popen(command, cwd=project, stderr=subprocess.PIPE, env=dict(os.environ))
    try:
        answer = _ask(f"http://127.0.0.1:{port}/api/studies", process)
        assert "shown" in answer
        listening = Path("/proc/net/tcp").read_text() if sys.platform == "linux" else ""
        assert f"00000000:{port:04X}" not in listening
    finally:
        process.terminate()
        process.wait()


def _ask(url: str, process: subprocess.Popen) -> str:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.read().decode()
        except OSError:
            time.sleep(0.2)
    process.kill()
    raise AssertionError(process.communicate()[1])
