"""Prefect's settings and server. Its database and all that it keeps lie in ``mlruns/prefect``.

Import it before prefect, which reads its settings from the environment once. Nothing talks to the network.
"""

from __future__ import annotations

import atexit
import contextlib
import http.client
import importlib
import os
import re
import socket
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

HOME = Path(os.environ.get("PREFECT_HOME") or "mlruns/prefect").resolve()
_SETTINGS = {
    "PREFECT_HOME": str(HOME),
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "coronet",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "DO_NOT_TRACK": "true",
    "DVC_NO_ANALYTICS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
for _name, _value in _SETTINGS.items():
    os.environ.setdefault(_name, _value)
# The server is on this computer; a proxy for the world outside must not be asked for it.
os.environ["NO_PROXY"] = ",".join(filter(None, (os.environ.get("NO_PROXY"), "127.0.0.1", "localhost")))

from coronet import terminal  # noqa: E402
from coronet.errors import InputError, StageError, Unreachable  # noqa: E402
from coronet.files import read_json, sqlite_url, write_json  # noqa: E402

_DATABASE = sqlite_url(HOME / "prefect.db", driver="aiosqlite")
_OTHER_DATABASE = (
    "PREFECT_SERVER_DATABASE_CONNECTION_URL",
    "PREFECT_API_DATABASE_CONNECTION_URL",
    "PREFECT_SERVER_DATABASE_DRIVER",
)
if f"sqlite+aiosqlite:///{HOME}/prefect.db" != _DATABASE and not any(map(os.environ.get, _OTHER_DATABASE)):
    # Prefect puts its folder into a URL as it is, and would take a%20b for a folder called a b.
    os.environ[_OTHER_DATABASE[0]] = _DATABASE


def _prepare() -> None:
    """Make Prefect's folder, and let Prefect read its settings, which it does once, when it is imported."""
    HOME.mkdir(parents=True, exist_ok=True)
    try:
        urllib.parse.urlsplit(os.environ.get("PREFECT_API_URL", ""))
        importlib.import_module("prefect.context")
    except ValueError as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"A PREFECT_… variable cannot be used: {reason}. Correct or unset it.") from error


_at_exit = contextlib.ExitStack()
# Registered before prefect is imported, so closed after Prefect has sent its last states and logs.
atexit.register(_at_exit.close)
if _code := terminal.run_app(_prepare):
    sys.exit(_code)

from guard import guarded  # noqa: E402

_ADDRESS = HOME / "server.json"  # where `make prefect` writes the address of its server
_ANSWER_SECONDS = 5.0  # how long each of a few attempts waits for the server that PREFECT_API_URL names
_STARTUP_SECONDS = 600
"""A fresh database takes 13 seconds on two cores, and many times as long where they are overloaded."""


def server() -> str:
    """Address of a Prefect server: the one that is set or runs here, else one that ends with this process.

    Prefect could start one by itself, but that has no pages to approve on, and stays when the flow is killed.

    Raises:
        Unreachable: the one that is set does not answer as Prefect's server does.
        StageError: no server could be started.
    """
    if chosen := os.environ.get("PREFECT_API_URL"):
        _check_answers(chosen)
        return chosen
    if running := running_server():
        return running
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return _at_exit.enter_context(serving(port, PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED="false"))


@contextlib.contextmanager
def serving(port: int, **settings: str) -> Iterator[str]:
    """Serve Prefect's API and pages on a port of 127.0.0.1 while this block runs; gives the API's address.

    Raises:
        StageError: the server ended, or did not answer in time.
    """
    address, environment = f"http://127.0.0.1:{port}/api", os.environ | settings
    command = [
        *(sys.executable, "-m", "prefect", "server", "start"),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with (
        (HOME / "server.log").open("a", encoding="utf-8") as log,
        guarded(command, stdout=log, stderr=log, env=environment) as child,
    ):
        latest = time.monotonic() + _STARTUP_SECONDS
        while not _answers(address):
            if child.poll() is not None or time.monotonic() > latest:
                raise StageError(f"Prefect's server did not start; {HOME / 'server.log'} says why.")
            time.sleep(0.1)
        yield address


@contextlib.contextmanager
def registered(address: str) -> Iterator[None]:
    """Let flows that are started in this folder, but no copy of it, use the server while this block runs."""
    write_json(_ADDRESS, {"address": address, "home": str(HOME)})
    try:
        yield
    finally:
        _ADDRESS.unlink(missing_ok=True)


def running_server() -> str:
    """Address of the server that runs for this very folder; empty without one."""
    with contextlib.suppress(InputError, KeyError, TypeError):
        found = read_json(_ADDRESS)
        # a folder that was copied holds the address of the server of the original
        if found["home"] == str(HOME) and _answers(found["address"]):
            return found["address"]
    return ""


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as response:
            return response.status == 200
    except (OSError, ValueError, http.client.HTTPException):
        # nothing there, no address at all, or something that does not speak HTTP
        return False


def _check_answers(address: str) -> None:
    """Raise where no Prefect server of a fitting version answers, with the settings that its clients have."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_API_URL, temporary_settings

    try:
        settings = {PREFECT_API_URL: address, PREFECT_API_REQUEST_TIMEOUT: _ANSWER_SECONDS}
        # entering it asks for the version
        with temporary_settings(settings), get_client(sync_client=True) as client:
            if error := client.api_healthcheck():
                raise error
    except Exception as error:  # an address of any form, and whatever answers there
        shown = re.sub(r"//[^/@]*@", "//", address)
        reason = " ".join(str(error.__cause__ or error).split())[:200] or type(error).__name__
        raise Unreachable(
            f"No Prefect server of this version answers at PREFECT_API_URL={shown} ({reason}). Start it, or "
            "unset PREFECT_API_URL, and the flow starts a server of its own."
        ) from error
