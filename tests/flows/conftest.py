"""Flows as a user starts them, offline, and a project of four stages that takes a second."""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from repositories import commit

ROOT = Path(__file__).resolve().parents[2]
STAGES = """
stages:
  first: {cmd: cp seed first.txt, deps: [seed], outs: [first.txt]}
  left: {cmd: cat first.txt first.txt > left.txt, deps: [first.txt], outs: [left.txt]}
  right: {cmd: cat first.txt > right.txt, deps: [first.txt], outs: [right.txt]}
  last:
    cmd: exec python trainer.py
    deps: [left.txt, right.txt, trainer.py]
    outs: [last.txt]
"""
TRAINER = """
import fcntl, pathlib, sys, time
from coronet.process import end_with_parent
end_with_parent()
work = pathlib.Path("work")
work.mkdir(exist_ok=True)
lock = (work / "lock").open("w")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    (work / "second").touch()
    sys.exit("there are two trainers")
steps = work / "steps"
done = len(steps.read_text().split()) if steps.exists() else 0
wanted = int(pathlib.Path("seed").read_text())
for step in range(done, wanted):
    with steps.open("a") as lines:
        lines.write(f"{step}\\n")
    time.sleep(0.1)
pathlib.Path("last.txt").write_text(steps.read_text())
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A project whose last stage is like a trainer: it resumes, fails beside another, and ends with DVC."""
    project = tmp_path / "project"
    (project / ".dvc").mkdir(parents=True)
    (project / ".dvc" / "config").write_text((ROOT / ".dvc" / "config").read_text())
    (project / "dvc.yaml").write_text(STAGES)
    (project / "trainer.py").write_text(TRAINER)
    (project / "seed").write_text("2")
    (project / ".gitignore").write_text("/mlruns\n/work\n")
    commit(project, "start")
    return project


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One Prefect database for all tests, since a fresh one takes ten seconds."""
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture(scope="session")
def start(home: Path, offline: Callable[[Path], dict[str, str]]) -> Callable[..., subprocess.Popen[str]]:
    """Start a flow as a function of (project, name, *arguments); keywords are environment variables."""

    def started(project: Path, name: str, *arguments: str, **settings: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(ROOT / "flows" / f"{name}.py"), *arguments],
            cwd=project,
            env=offline(project) | {"PREFECT_HOME": str(home)} | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return started


@pytest.fixture(scope="session")
def run(start: Callable[..., subprocess.Popen[str]]) -> Callable[..., tuple[int, str]]:
    """Run a flow to its end: exit code, and what it printed."""

    def ran(
        project: Path,
        name: str,
        *arguments: str,
        on_line: Callable[[str], None] = lambda line: None,
        **settings: str,
    ) -> tuple[int, str]:
        process = start(project, name, *arguments, **settings)
        lines = []
        for line in process.stdout:
            lines.append(line)
            on_line(line)
        return process.wait(), "".join(lines)

    return ran


@pytest.fixture(scope="session")
def served(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Settings that point a flow to one server, which saves each flow the start of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}/api"
    environment = os.environ | {"PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (tmp_path_factory.mktemp("server") / "log").open("w") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

        def answers() -> bool:
            assert server.poll() is None
            try:
                return urllib.request.urlopen(f"{address}/health", timeout=5).status == 200
            except OSError:
                return False

        await_(answers, 240)
        yield {"PREFECT_API_URL": address}
        server.terminate()
        server.wait()


@pytest.fixture
def states(home: Path) -> Callable[[], list[tuple[str, str, int]]]:
    """Tasks of the last flow run as Prefect's pages show them: name, state, how often it was run."""

    def read() -> list[tuple[str, str, int]]:
        with sqlite3.connect(home / "prefect.db") as database:
            return database.execute(
                "select name, state_name, run_count from task_run where flow_run_id ="
                " (select id from flow_run order by start_time desc limit 1) order by start_time"
            ).fetchall()

    return read


@pytest.fixture
def crashed(home: Path) -> Callable[[], int]:
    """How many flow runs count as crashed."""

    def count() -> int:
        with sqlite3.connect(home / "prefect.db") as database:
            return database.execute("select count(*) from flow_run where state_name = 'Crashed'").fetchone()[
                0
            ]

    return count


@pytest.fixture
def family() -> Iterator[Callable[[Path], list[psutil.Process]]]:
    """Processes that work in a project's folder, as a function of the folder."""

    def found(project: Path) -> list[psutil.Process]:
        there = []
        for process in psutil.process_iter():
            try:
                if Path(process.cwd()) == project and process.status() != psutil.STATUS_ZOMBIE:
                    there.append(process)
            except (psutil.Error, OSError):
                continue
        return there

    return found


def await_(condition: Callable[[], object], seconds: float) -> None:
    """Wait until ``condition`` holds."""
    latest = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < latest, "it took too long"
        time.sleep(0.05)


@pytest.fixture(scope="session", name="await_")
def await_fixture() -> Callable[[Callable[[], object], float], None]:
    """`await_` for the test modules."""
    return await_
