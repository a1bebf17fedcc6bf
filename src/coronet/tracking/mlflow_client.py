"""Where MLflow keeps its runs and models, and the one way to a client of it."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from coronet.errors import Busy, LedgerError
from coronet.files import sqlite_url
from coronet.process import check_port
from coronet.tracking import artifact_locations

if TYPE_CHECKING:
    from mlflow import MlflowClient

_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # a server that is away is given up after seconds, not after minutes
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
}
_KIND, _MODEL_TRAINING = "mlflow.experimentKind", "custom_model_development"
"""Tag by which MLflow's pages open an experiment as model training."""
_LOCK_SECONDS = 120
_OPEN = """
import socket, sys, time, webbrowser
for _ in range(120):
    try:
        socket.create_connection(("127.0.0.1", int(sys.argv[1])), 1).close()
        webbrowser.open(sys.argv[2])
        break
    except OSError:
        time.sleep(0.5)
"""
"""Opens a page in the browser once a port answers."""
_opened_last: list[str] = []


def tracking_uri(mlruns: Path) -> str:
    """``MLFLOW_TRACKING_URI`` where it is set, else the SQLite database under ``mlruns``."""
    return os.environ.get("MLFLOW_TRACKING_URI") or sqlite_url(Path(mlruns) / artifact_locations.DATABASE)


@contextlib.contextmanager
def open_client(mlruns: Path, *, checked: bool = True) -> Iterator[MlflowClient]:
    """A client of MLflow, held by one process at a time; a thread that holds it may open it again.

    Args:
        mlruns: the folder of database and artifacts.
        checked: whether to check where artifacts lie; see `coronet.tracking.artifact_locations`.

    Raises:
        Busy: another process held it all the while.
        LedgerError: MLflow cannot be reached, or its artifacts are in a folder that is absent.
    """
    import filelock

    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    import mlflow.exceptions
    import requests
    import sqlalchemy
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    mlruns = Path(mlruns).resolve()
    mlruns.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(mlruns / ".ledger.lock", is_singleton=True)
    try:
        # two processes that open a fresh database at once corrupt it
        lock.acquire(timeout=_LOCK_SECONDS)
    except filelock.Timeout as error:
        raise Busy(f"{mlruns} is in use by another process since {_LOCK_SECONDS} s; wait for it.") from error
    try:
        uri = tracking_uri(mlruns)
        _forget_other_ledger(uri)
        if checked:
            artifact_locations.check_locations(uri, mlruns)
        yield MlflowClient(tracking_uri=uri)
    except (
        mlflow.exceptions.MlflowException,
        sqlalchemy.exc.SQLAlchemyError,
        requests.RequestException,
    ) as error:
        where = re.sub(r"//[^/@]*@", "//", tracking_uri(mlruns))
        reason = " ".join(str(error).split())[:300]
        raise LedgerError(f"MLflow ({where}) failed: {reason}. Is MLFLOW_TRACKING_URI right?") from error
    finally:
        lock.release()


def _forget_other_ledger(uri: str) -> None:
    """Drop what MLflow remembers of another ledger that this process has opened.

    It keeps places of artifacts by the id of the run, and a copy of a project has the same runs.
    """
    from mlflow.tracking._tracking_service import utils

    if _opened_last and _opened_last != [uri]:
        utils._artifact_repos_cache.clear()
    _opened_last[:] = [uri]


def experiment_id(client: MlflowClient, name: str, mlruns: Path) -> str:
    """The experiment's id; a new one keeps its artifacts under ``mlruns/artifacts`` unless a server does."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        # of an experiment without a kind MLflow shows the pages for language models
        if _KIND not in found.tags:
            client.set_experiment_tag(found.experiment_id, _KIND, _MODEL_TRAINING)
        return found.experiment_id
    local = not tracking_uri(mlruns).startswith("http")
    place = artifact_locations.artifact_location(mlruns, name) if local else None
    tags = {_KIND: _MODEL_TRAINING, "mlflow.note.content": _describe(name)}
    return client.create_experiment(name, artifact_location=place, tags=tags)


def _describe(experiment: str) -> str:
    model, _, search = experiment.partition("-")
    if search:
        return f"Studies of the {model} network and their trials (`coronet search`)."
    if model == "coronet":
        return "Heart and calcium network together, from scan to score (`dvc repro score`)."
    return f"Trainings of the {model} network (`dvc repro train@{model}`)."


def page_addresses(mlruns: Path, *, port: int) -> dict[str, str]:
    """Direct addresses of the experiments' runs and of the registered models in MLflow's pages."""
    pages = f"http://127.0.0.1:{port}/#"
    with open_client(mlruns) as client:
        found = {item.name: item.experiment_id for item in client.search_experiments()}
    names = [name for name in artifact_locations.EXPERIMENTS if name in found]
    runs = {
        f"runs of {name}": f"{pages}/experiments/{found[name]}/runs?workflowType=machine_learning"
        for name in names
    }
    return runs | {"registered models": f"{pages}/models?workflowType=machine_learning"}


def relocate_project(mlruns: Path) -> tuple[Path, ...]:
    """Let a database of several projects lead to the artifacts in ``mlruns``; returns where it led to.

    Raises:
        LedgerError: MLflow is a server, or cannot be reached.
    """
    with open_client(mlruns, checked=False):
        return artifact_locations.relocate_artifacts(tracking_uri(mlruns), Path(mlruns))


def serve_mlflow(mlruns: Path, *, port: int) -> None:
    """Run MLflow's pages on 127.0.0.1 until they are stopped.

    Raises:
        Busy: another program listens on the port; MLflow itself would end with exit code 0.
    """
    check_port(port)
    addresses = page_addresses(mlruns, port=port)
    sys.stdout.write("".join(f"{name}: {address}\n" for name, address in addresses.items()))
    sys.stdout.flush()
    display = sys.platform == "darwin" or {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys()
    if sys.stdout.isatty() and display:
        first = next(iter(addresses.values()))
        with contextlib.suppress(OSError):
            subprocess.Popen([sys.executable, "-c", _OPEN, str(port), first], start_new_session=True)
    environment = os.environ | {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    command = [
        *(sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port)),
        *("--workers", "1", "--backend-store-uri", tracking_uri(mlruns)),
    ]
    # in place of this process, so that whoever ends it ends the pages
    os.execve(sys.executable, command, environment)
