"""What all flows share: Prefect's settings, its server, and processes that end with the flow.

Import it before prefect, which reads its settings from the environment once. Prefect's database and whatever
else it keeps lie in ``mlruns/prefect``, and nothing of it talks to the network.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefect.states import State

HOME = Path(os.environ.get("PREFECT_HOME") or "mlruns/prefect").resolve()
SETTINGS = {
    "PREFECT_HOME": str(HOME),
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "coronet",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "DO_NOT_TRACK": "true",
    "DVC_NO_ANALYTICS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
for _name, _value in SETTINGS.items():
    os.environ.setdefault(_name, _value)
# The server is here; a proxy that is set for the world outside must not be asked for it.
os.environ["NO_PROXY"] = ",".join(filter(None, (os.environ.get("NO_PROXY"), "127.0.0.1", "localhost")))

from coronet.errors import CoronetError, StageError  # noqa: E402

logger = logging.getLogger("coronet")

HOME.mkdir(parents=True, exist_ok=True)
_children: set[subprocess.Popen[str]] = set()
_at_exit = contextlib.ExitStack()
# Registered before prefect is imported, so closed after Prefect has sent its last states and logs.
atexit.register(_at_exit.close)

GUARD = Path(__file__).with_name("guard.py")
ADDRESS = HOME / "server.txt"
"""Where `make prefect` writes the address of its server."""
STARTUP_SECONDS = 600
"""A fresh database takes 13 seconds on two cores, and many times as long where they are overloaded."""


@contextlib.contextmanager
def guarded(command: Sequence[str], **options: object) -> Iterator[subprocess.Popen[str]]:
    """Start a command that ends when this block, or this process, does; with all that it started.

    Call it in the thread that waits for it: the system watches threads.
    """
    child = subprocess.Popen(
        [sys.executable, "-S", str(GUARD), str(os.getpid()), *command],
        start_new_session=True,
        text=True,
        **options,
    )
    _children.add(child)
    try:
        yield child
    finally:
        if child.poll() is None:
            child.terminate()
        child.wait()
        _children.discard(child)


def end_children() -> None:
    """End what `guarded` blocks of any thread have started."""
    for child in tuple(_children):
        child.terminate()


def server() -> str:
    """Address of a Prefect server: the one that is set or runs here, else one that ends with this process.

    Prefect could start one by itself, but that has no pages to approve on, and stays when the flow is killed.

    Raises:
        StageError: no server could be started.
    """
    running = os.environ.get("PREFECT_API_URL") or _running()
    if running:
        return running
    port = _free_port()
    address = f"http://127.0.0.1:{port}/api"
    log = _at_exit.enter_context((HOME / "server.log").open("a", encoding="utf-8"))
    environment = os.environ | {"PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false"}
    child = _at_exit.enter_context(guarded(server_command(port), stdout=log, stderr=log, env=environment))
    wait_for(address, child)
    return address


def server_command(port: int) -> list[str]:
    """The command that serves Prefect's API and pages on 127.0.0.1."""
    return [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]


def wait_for(address: str, child: subprocess.Popen[str]) -> None:
    """Wait until a server that was just started answers.

    Raises:
        StageError: it ended, or did not answer in time.
    """
    latest = time.monotonic() + STARTUP_SECONDS
    while not answers(address):
        if child.poll() is not None or time.monotonic() > latest:
            raise StageError(f"Prefect's server did not start; {HOME / 'server.log'} says why.")
        time.sleep(0.1)


def answers(address: str) -> bool:
    """Whether a Prefect server answers there."""
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


def _running() -> str:
    with contextlib.suppress(FileNotFoundError):
        address = ADDRESS.read_text(encoding="utf-8").strip()
        if answers(address):
            return address
    return ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def tracked() -> Iterator[None]:
    """Hold a lock file for the flow run of this block, and mark runs whose process is gone as crashed.

    Prefect cannot tell a run whose process was killed from one that works; the system frees its lock.
    """
    import filelock
    from prefect.client.orchestration import get_client
    from prefect.runtime import flow_run
    from prefect.states import Crashed

    from guard import end_with_parent

    if "PREFECT__FLOW_RUN_ID" in os.environ:
        # Started by a worker: it ends with it, outright, since the server to tell of it ends as well.
        end_with_parent(os.getppid(), signal.SIGKILL)
    folder = HOME / "running"
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.lock"):
        lock = filelock.FileLock(path)
        with (
            contextlib.suppress(filelock.Timeout),
            lock.acquire(timeout=0),
            get_client(sync_client=True) as client,
        ):
            crashed = Crashed(message="Its process was ended from outside; the next run goes on.")
            client.set_flow_run_state(path.stem, crashed, force=True)
            path.unlink()
    own = folder / f"{flow_run.id}.lock"
    with filelock.FileLock(own):
        yield
        own.unlink()


def conduct(flow: Callable[[], State]) -> int:
    """Run a flow with a server and log how it ended; the exit code is 2 where it failed."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        with temporary_settings({PREFECT_API_URL: server()}):
            state = flow()
    except CoronetError as error:
        logger.error("coronet: %s", error)
        return 2
    if not state.is_completed():
        logger.error("coronet: %s", state.message)
        return 2
    return 0
