"""Where MLflow keeps its runs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOCK_SECONDS = 120
"""How long a second process waits for the first: opening a fresh database from two at once corrupts it."""


def tracking_uri(mlruns: Path) -> str:
    """``MLFLOW_TRACKING_URI`` where it is set, else the SQLite database under ``mlruns``."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(Path(mlruns) / 'mlflow.db').resolve()}"


@contextlib.contextmanager
def opened(mlruns: Path) -> Iterator[MlflowClient]:
    """A client of the ledger, held by one process at a time."""
    import filelock

    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    mlruns = Path(mlruns)
    mlruns.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(mlruns / ".ledger.lock", timeout=LOCK_SECONDS):
        yield MlflowClient(tracking_uri=tracking_uri(mlruns))


def experiment_id(client: MlflowClient, name: str, mlruns: Path) -> str:
    """The experiment's id; a new one keeps its artifacts under ``mlruns/artifacts`` whatever the folder."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return found.experiment_id
    local = "MLFLOW_TRACKING_URI" not in os.environ
    place = (Path(mlruns) / "artifacts" / name).resolve().as_uri() if local else None
    return client.create_experiment(name, artifact_location=place)


def serve(mlruns: Path, *, port: int) -> None:
    """Run MLflow's pages on 127.0.0.1 until they are stopped."""
    import subprocess
    import sys

    with opened(mlruns) as client:
        client.search_experiments(max_results=1)
    environment = os.environ | {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    subprocess.run(
        [
            *(sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port)),
            *("--workers", "1", "--backend-store-uri", tracking_uri(mlruns)),
        ],
        check=False,
        env=environment,
    )
