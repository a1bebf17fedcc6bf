"""A training's epochs go to MLflow while it runs, and MLflow can neither slow it nor fail it.

One background thread sends. The training hands it each epoch through a queue and waits for it at the end no
longer than `END_SECONDS`; the thread is a daemon, so the process ends even while a server hangs. MLflow's own
asynchronous logging is not used: it creates runs in the foreground, and at exit it waits without limit for a
server that does not answer. `coronet tracking sync` writes what did not reach MLflow, into the same run.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger("coronet")
END_SECONDS = 15.0
"""How long a finished stage waits for MLflow."""
_SYNC_SECONDS = 300.0
"""The same at the end of a demo, which draws pictures for MLflow and has nothing more to do."""
_SAMPLE_SECONDS = 10.0  # between two samples of the machine's load
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}
"""A server that does not answer is given up soon; the next epoch tries again."""
LogEpoch = Callable[[int, Mapping[str, float]], None]


@contextlib.contextmanager
def tracking(model: str, *, fingerprint: str, params: Any, project: Path) -> Iterator[LogEpoch]:
    """Stream a training to MLflow; an unfinished run of the same fingerprint is continued.

    Yields:
        What to call with (epoch, what was measured) after every epoch; it takes microseconds.
    """
    stream = _Stream(model, fingerprint, params, Path(project))
    sender = threading.Thread(target=stream.run, name="mlflow", daemon=True)
    sender.start()
    try:
        yield lambda _, entry: stream.events.put(dict(entry))
    except BaseException:
        stream.end(sender, "FAILED")
        raise
    stream.end(sender, "FINISHED")


def track_evaluation(model: str, *, project: Path) -> None:
    """Send an evaluation that was just made to MLflow, if it answers."""
    from coronet.tracking import runs

    _send(project, lambda client: runs.sync_runs(client, project, models=[model], evaluated=True))


def catch_up(project: Path) -> None:
    """Do what `coronet.tracking.runs.sync` does, if MLflow answers."""
    from coronet.config import MODELS
    from coronet.tracking import runs

    _send(project, lambda client: runs.sync_runs(client, project, models=MODELS), seconds=_SYNC_SECONDS)


def _send(project: Path, write: Callable[[MlflowClient], object], *, seconds: float | None = None) -> None:
    """Write to MLflow in a thread that is waited for no longer than ``seconds``."""
    failures: list[str] = []
    sender = threading.Thread(
        target=lambda: failures.append(_attempt(project, write)), name="mlflow", daemon=True
    )
    sender.start()
    _wait(sender, failures, END_SECONDS if seconds is None else seconds)


def _wait(sender: threading.Thread, failures: list[str], seconds: float) -> None:
    sender.join(seconds)
    reason = f"no answer in {seconds:g} s" if sender.is_alive() else failures[-1] if failures else ""
    if reason:
        logger.warning("MLflow was not reached (%s); `coronet tracking sync` writes it later", reason)


def _attempt(project: Path, write: Callable[[MlflowClient], object]) -> str:
    """Write to MLflow; why it failed, or nothing."""
    for name, value in _PATIENCE.items():
        os.environ.setdefault(name, value)
    try:
        from coronet.tracking import mlflow_client

        with mlflow_client.open_client(Path(project) / "mlruns") as client:
            write(client)
    except Exception as error:  # whatever a database, a server or a disk gives, the training must go on
        return " ".join(str(error).split())[:200] or type(error).__name__
    return ""


class _Stream:
    """A training's measurements that MLflow does not have yet, and the loop of the thread that sends them."""

    def __init__(self, model: str, fingerprint: str, params: Any, project: Path) -> None:
        self.events: queue.SimpleQueue[dict[str, float] | str] = queue.SimpleQueue()
        self.failures: list[str] = []
        self._model, self._fingerprint, self._params, self._project = model, fingerprint, params, project
        self._metrics: list[tuple[str, int, float, int]] = []
        self._run_id, self._whole = "", False
        self._samples, self._sampled = 0, 0.0

    def end(self, sender: threading.Thread, status: str) -> None:
        """Let the thread send what is left, and wait for it a little."""
        self.events.put(status)
        _wait(sender, self.failures, END_SECONDS)

    def run(self) -> None:
        """Send until a status ends the stream."""
        from coronet.tracking.run_contents import epoch_metrics

        status, epochs = "", 0
        while not status:
            event = None
            with contextlib.suppress(queue.Empty):
                event = self.events.get(timeout=_SAMPLE_SECONDS)
            if isinstance(event, str):
                status = event
            elif event is not None:
                epochs += 1
                now = int(time.time() * 1000)
                self._metrics += [(*metric, now) for metric in epoch_metrics(event)]
            # before the first epoch there may be no training: another process may hold its folder
            if epochs or status == "FINISHED":
                self.failures[:] = [_attempt(self._project, functools.partial(self._write, status=status))]

    def _write(self, client: MlflowClient, status: str) -> None:
        from coronet.tracking import runs

        if self._metrics and not self._run_id and not self._whole:
            self._open_run(client)
        if self._run_id:
            self._sample()
            runs.write_metrics(client, self._run_id, self._metrics)
            self._metrics.clear()
            if status == "FAILED":
                client.set_terminated(self._run_id, status)
        if status == "FINISHED":
            runs.sync_runs(client, self._project, models=[self._model])

    def _sample(self) -> None:
        """Measure the machine's load, unless it was measured just now."""
        from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
        from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

        now = time.time()
        if now < self._sampled + _SAMPLE_SECONDS:
            return
        self._sampled = now
        for kind in (CPUMonitor, GPUMonitor):
            with contextlib.suppress(Exception):  # whatever a driver does that is absent, old or broken
                monitor = kind()
                monitor.collect_metrics()
                found = monitor.aggregate_metrics()
                self._metrics += [
                    (f"system/{key}", self._samples, value, int(now * 1000)) for key, value in found.items()
                ]
        self._samples += 1

    def _open_run(self, client: MlflowClient) -> None:
        """Continue the run of this fingerprint, or start one; a whole one is left as it is."""
        from coronet.tracking import mlflow_client, runs
        from coronet.tracking.run_contents import streamed_record

        experiment = mlflow_client.experiment_id(client, self._model, self._project / "mlruns")
        found = runs.find_runs(client, experiment, self._fingerprint)
        self._whole = any(runs.CONTENT in run.data.tags for run in found)
        if self._whole:
            return
        if found:
            run = found[0]
            client.update_run(run.info.run_id, status="RUNNING")
            present = {
                (metric.key, metric.step)
                for key in run.data.metrics
                for metric in client.get_metric_history(run.info.run_id, key)
            }
            self._metrics = [item for item in self._metrics if item[:2] not in present]
            self._samples = 1 + max((step for key, step in present if key.startswith("system/")), default=-1)
        else:
            record = streamed_record(self._project, self._model, self._fingerprint, self._params)
            run = runs.create_run(client, experiment, record, runs.code_tags(self._project))
            runs.write_params(client, run, record.params)
        self._run_id = run.info.run_id
