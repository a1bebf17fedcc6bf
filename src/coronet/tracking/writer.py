"""The process behind `coronet.tracking.tracker`: reads lines from standard input and writes them to MLflow.

It ends when its input ends. Input that ends without ``finished`` or ``failed`` means that the training was
killed; the run is then marked so, until someone goes on with it.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import os
import select
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coronet.json_lines import append_line, read_lines
from coronet.tracking import mlflow_client, runs
from coronet.tracking.dvc_lock import read_lock
from coronet.tracking.run_contents import (
    TRAINING,
    RunContents,
    epoch_metrics,
    lineage,
    params_sha256,
    text_params,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

logger = logging.getLogger("coronet")
_SAMPLE_SECONDS = 10.0
"""Between two samples of what the machine does."""
_IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
"""A server that is away shall be given up soon; the next epoch tries again."""


@dataclasses.dataclass
class _Stream:
    """A training as far as it is known, and what MLflow has not yet been told of it."""

    model: str
    fingerprint: str
    params: Any
    work: Path
    run: Run | None = None
    whole: bool = False
    metrics: list[tuple[str, int, float, int]] = dataclasses.field(default_factory=list)
    status: str = ""
    samples: int = 0
    epochs: int = 0


def main() -> int:
    """Read and write until the input ends; 1 where MLflow lacks something in the end."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    for name, value in _IMPATIENT.items():
        os.environ.setdefault(name, value)
    project = Path(sys.argv[1])
    stream: _Stream | None = None
    done = True
    for messages in _batches():
        for message in messages:
            if message["do"] == "begin":
                stream = _begin(message)
            elif message["do"] == "evaluated":
                done = _try(project, functools.partial(_write_evaluation, project, message["model"]))
            elif message["do"] == "sync":
                done = _try(project, lambda _: runs.sync(project))
            elif stream is not None:
                _take(stream, message)
        if stream is not None and (stream.epochs or not stream.status):
            _sample(stream)
        if stream is not None and messages:
            done = _flush(project, stream)
    if stream is not None and not stream.status:
        stream.status = "KILLED"
        done = _flush(project, stream)
    return 0 if done else 1


def _write_evaluation(project: Path, model: str, client: MlflowClient) -> None:
    runs.sync_runs(client, project, models=[model], evaluated=True)


def _batches() -> Iterator[list[Mapping[str, Any]]]:
    """Messages as they come, all that wait at once; an empty list where none came for a while."""
    handle, rest = sys.stdin.fileno(), b""
    while True:
        ready, _, _ = select.select([handle], [], [], _SAMPLE_SECONDS)
        if not ready:
            yield []
            continue
        piece = os.read(handle, 1 << 16)
        if not piece:
            return
        *lines, rest = (rest + piece).split(b"\n")
        yield [json.loads(line) for line in lines]


def _begin(message: Mapping[str, Any]) -> _Stream:
    import psutil

    psutil.cpu_percent()  # what it gives next is since this call
    return _Stream(message["model"], message["fingerprint"], message["params"], Path(message["work"]))


def _take(stream: _Stream, message: Mapping[str, Any]) -> None:
    if message["do"] == "epoch":
        now = int(time.time() * 1000)
        stream.metrics += [(*metric, now) for metric in epoch_metrics(message["entry"])]
        stream.epochs += 1
    else:
        stream.status = {"finished": "FINISHED", "failed": "FAILED"}[message["do"]]


def _sample(stream: _Stream) -> None:
    """Keep what the machine does in the work folder, so that `sync` can write it where MLflow is away."""
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor

    monitor = CPUMonitor()
    monitor.collect_metrics()
    metrics = {f"system/{key}": value for key, value in monitor.aggregate_metrics().items()} | _gpu()
    path = stream.work / runs.SYSTEM
    if stream.samples == 0 and path.exists():
        stream.samples = len(read_lines(path))
    entry = {"time": int(time.time() * 1000), "step": stream.samples, "metrics": metrics}
    try:
        append_line(path, entry)
    except OSError as error:
        # epochs are told all the same
        logger.warning("%s", error)
    stream.metrics += [(key, stream.samples, value, entry["time"]) for key, value in metrics.items()]
    stream.samples += 1


def _gpu() -> dict[str, float]:
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

    try:
        monitor = GPUMonitor()
        monitor.collect_metrics()
        return {f"system/{key}": value for key, value in monitor.aggregate_metrics().items()}
    except Exception:  # whatever a driver does that is absent, old or broken
        return {}


def _flush(project: Path, stream: _Stream) -> bool:
    """Write what MLflow lacks; where it is away, the next call tries again."""

    # before the first epoch there may be no training at all: another process may hold the folder
    if not stream.epochs and stream.status != "FINISHED":
        return True

    def write(client: MlflowClient) -> None:
        if stream.epochs and not stream.whole:
            _write(client, project, stream)
        if stream.status == "FINISHED":
            runs.sync_runs(client, project, models=[stream.model])

    return _try(project, write)


def _try(project: Path, write: Callable[[MlflowClient], Any]) -> bool:
    try:
        with mlflow_client.open_client(project / "mlruns") as client:
            write(client)
        return True
    except Exception as error:  # whatever a database, a server or a disk gives, the training must go on
        logger.warning("%s", " ".join(str(error).split())[:500])
        return False


def _write(client: MlflowClient, project: Path, stream: _Stream) -> None:
    if stream.run is None:
        _open_run(client, project, stream)
        if stream.whole:
            return
    runs.write_metrics(client, stream.run.info.run_id, stream.metrics)
    stream.metrics.clear()
    if stream.status in ("FAILED", "KILLED"):
        client.set_terminated(stream.run.info.run_id, stream.status)


def _open_run(client: MlflowClient, project: Path, stream: _Stream) -> None:
    """Go on with the run of this fingerprint, or begin one; a whole one is left as it is."""
    experiment = mlflow_client.experiment_id(client, stream.model, project / "mlruns")
    found = runs.find_runs(client, experiment, stream.fingerprint)
    stream.whole = any(runs.CONTENT in run.data.tags for run in found)
    if stream.whole:
        return
    params = text_params(stream.params)
    if found:
        stream.run = found[0]
        client.update_run(stream.run.info.run_id, status="RUNNING")
        known = {(metric.key, metric.step) for metric in _known(client, stream.run)}
        stream.metrics = [item for item in stream.metrics if item[:2] not in known]
    else:
        tags = lineage(project, stream.model, read_lock(project)) | {
            "params_sha256": params_sha256(stream.params)
        }
        for late in ("dvc_lock_sha256", "weights_sha256", "fit_md5"):
            tags.pop(late, None)
        record = RunContents(
            *(stream.model, TRAINING, stream.fingerprint, params, tags), (), {}, {}, {}, {"hashes": {}}
        )
        stream.run = runs.create_run(client, experiment, record, runs.code_tags(project))
    runs.write_params(client, stream.run, params)


def _known(client: MlflowClient, run: Run) -> Iterator[Any]:
    for key in run.data.metrics:
        yield from client.get_metric_history(run.info.run_id, key)


if __name__ == "__main__":
    sys.exit(main())
