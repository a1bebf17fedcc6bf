"""MLflow's view of a search: the study is a parent run, its trials are children.

All of it is written from plain records and can be written again. Trials are never registered, and they are in
an experiment of their own, so that nothing takes one for a training of the pipeline.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coronet.tracking import mlflow_client

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_STUDY, _TRIAL, STATE, _DIGEST = "coronet.study", "coronet.trial", "coronet.state", "coronet.pictures"
_PARENT = "mlflow.parentRunId"
_BATCH = 900
_RUN_STATUS = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED", "killed": "FAILED"}
"""How MLflow calls the end of a trial."""
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""A server that is away must not hold up a search for minutes, as MLflow's own defaults would."""


@dataclasses.dataclass(frozen=True)
class TrialRecord:
    """One trial that came to an end.

    Attributes:
        number: within its study.
        state: ``complete``, ``pruned``, ``failed`` or ``killed``.
        value: the metric, or None.
        params: what was drawn.
        reported: step and value of its reports.
        started_ms: milliseconds since 1970.
        ended_ms: the same.
        tags: whatever else is known.
    """

    number: int
    state: str
    value: float | None
    params: Mapping[str, Any]
    reported: Mapping[int, float]
    started_ms: int
    ended_ms: int
    tags: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class StudyRecord:
    """A study with the trials that came to an end.

    Attributes:
        name: unique among studies.
        model: ``heart`` or ``calcium``.
        metric: what ``value`` of the trials is.
        trials: in the order of their numbers.
        tags: of the parent run.
    """

    name: str
    model: str
    metric: str
    trials: tuple[TrialRecord, ...]
    tags: Mapping[str, str]


def write(record: StudyRecord, mlruns: Path, *, pictures: Path | None = None, digest: str = "") -> str:
    """Write what the ledger lacks of a study, and return the parent's run id.

    Args:
        record: the study.
        mlruns: where the ledger is.
        pictures: a folder of pictures and tables for the parent run.
        digest: of what the pictures show; they are not written a second time.
    """
    for key, value in _PATIENCE.items():
        os.environ.setdefault(key, value)
    with mlflow_client.open_client(mlruns) as client:
        experiment = mlflow_client.experiment_id(client, f"{record.model}-search", mlruns)
        parent = _parent(client, experiment, record)
        children = _children(client, experiment, parent)
        for trial in record.trials:
            known = children.pop(trial.number, None)
            if known is not None and known.data.tags.get(STATE) == trial.state:
                continue
            if known is not None:
                client.delete_run(known.info.run_id)
            _write_trial(client, experiment, parent, record, trial)
        _write_best(client, parent, record)
        if pictures is not None and not _holds_pictures(client, parent, digest):
            client.log_artifacts(parent, str(pictures))
            client.set_tag(parent, _DIGEST, digest)
    return parent


def _holds_pictures(client: MlflowClient, parent: str, digest: str) -> bool:
    """Whether the pictures of a study are there, and of what it holds now."""
    return client.get_run(parent).data.tags.get(_DIGEST) == digest and bool(client.list_artifacts(parent))


def _parent(client: MlflowClient, experiment: str, record: StudyRecord) -> str:
    found = client.search_runs([experiment], f"tags.`{_STUDY}` = '{record.name}'", max_results=1)
    if found:
        return found[0].info.run_id
    tags = {_STUDY: record.name, **record.tags}
    start = min((trial.started_ms for trial in record.trials), default=None)
    return client.create_run(experiment, start_time=start, run_name=record.name, tags=tags).info.run_id


def _children(client: MlflowClient, experiment: str, parent: str) -> dict[int, Run]:
    """Runs of a study's trials; one that was cut off is removed."""
    children: dict[int, Run] = {}
    token = None
    while True:
        page = client.search_runs([experiment], f"tags.`{_PARENT}` = '{parent}'", page_token=token)
        for run in page:
            number = int(run.data.tags[_TRIAL])
            if STATE not in run.data.tags or number in children:
                client.delete_run(run.info.run_id)
            else:
                children[number] = run
        token = page.token
        if not token:
            return children


def _write_trial(
    client: MlflowClient, experiment: str, parent: str, record: StudyRecord, trial: TrialRecord
) -> None:
    from mlflow.entities import Metric, Param, RunTag

    tags = {_PARENT: parent, _TRIAL: str(trial.number), **trial.tags}
    run = client.create_run(
        experiment, start_time=trial.started_ms, run_name=f"{record.name}-{trial.number}", tags=tags
    )
    run_id = run.info.run_id
    params = [Param(key, str(value)) for key, value in trial.params.items()]
    metrics = [
        Metric(f"{record.metric} so far", value, trial.ended_ms, step)
        for step, value in trial.reported.items()
    ]
    if trial.value is not None:
        metrics.append(Metric(record.metric, trial.value, trial.ended_ms, 0))
    for start in range(0, len(metrics), _BATCH):
        client.log_batch(run_id, metrics=metrics[start : start + _BATCH])
    # The state comes last: a run that has it is whole.
    client.log_batch(run_id, params=params, tags=[RunTag(STATE, trial.state)])
    client.set_terminated(run_id, _RUN_STATUS[trial.state], end_time=trial.ended_ms)


def _write_best(client: MlflowClient, parent: str, record: StudyRecord) -> None:
    """The parent's curve: the best value after each trial that was trained to its end."""
    from mlflow.entities import Metric

    best, metrics = float("-inf"), []
    for trial in record.trials:
        if trial.state == "complete" and trial.value is not None:
            best = max(best, trial.value)
            metrics.append(Metric(f"best {record.metric}", best, trial.ended_ms, trial.number))
    there = {item.step for item in client.get_metric_history(parent, f"best {record.metric}")}
    new = [item for item in metrics if item.step not in there]
    for start in range(0, len(new), _BATCH):
        client.log_batch(parent, metrics=new[start : start + _BATCH])
    end = max((trial.ended_ms for trial in record.trials), default=None)
    client.set_terminated(parent, end_time=end)
