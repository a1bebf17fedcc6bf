"""Writes a parameter search to MLflow: the study is a parent run, its trials are child runs.

Everything is written from plain records and can be written again. Trials are never registered, and they have
an experiment of their own, so that they are not mistaken for trainings of the pipeline.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coronet.fingerprint import canonical
from coronet.tracking import mlflow_client
from coronet.tracking.runs import write_metrics

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_STUDY, _TRIAL, STATE, _DRAWN = "coronet.study", "coronet.trial", "coronet.state", "coronet.plotted_trials"
_PARENT = "mlflow.parentRunId"
_RUN_STATUS = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED", "killed": "FAILED"}
"""MLflow's run status for each state of a finished trial."""
_LIMITS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""MLflow's defaults would hold up a search for minutes where the server is away."""


@dataclasses.dataclass(frozen=True)
class TrialRecord:
    """One trial of a study."""

    number: int  # within its study
    state: str  # `complete`, `pruned`, `failed`, `killed` (its worker was), `running` or `waiting`
    # the metric, mean of the folds; of a pruned trial the last that it reported; or None
    value: float | None = None
    # parameters chosen by the sampler, by their place in a model's parameters
    drawn: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    reason: str = ""  # why it was pruned or failed, or empty
    # value by epoch, counted over all folds
    reported: Mapping[int, float] = dataclasses.field(default_factory=dict)
    training: str = ""  # fingerprint of its training, or empty
    epochs: int = 0  # how many epochs it trained itself, over all folds
    seconds: float | None = None  # from its start to its end, or None
    started_ms: int | None = None  # milliseconds since 1970, or None
    retry_of: tuple[int, ...] = ()  # numbers of the killed trials that it repeats, oldest first

    @property
    def settled(self) -> bool:
        """Whether it ended by itself, so that it counts as one of the trials wanted."""
        return self.state in ("complete", "pruned", "failed")

    @property
    def ended_ms(self) -> int:
        """Milliseconds since 1970."""
        return (self.started_ms or 0) + round(1000 * (self.seconds or 0))


@dataclasses.dataclass(frozen=True)
class StudyRecord:
    """A study with its trials."""

    name: str  # unique among studies
    model: str  # `heart` or `calcium`
    fingerprint: str  # of everything the study is bound to
    metric: str  # what `value` of the trials is; the higher the better
    held_out: tuple[int, ...]  # number of cases held out in each fold
    trials: tuple[TrialRecord, ...]  # in the order of their numbers

    @property
    def best(self) -> TrialRecord | None:
        """The complete trial of the highest value; the first of equals."""
        complete = [trial for trial in self.trials if trial.state == "complete"]
        valued = [(trial.value, trial) for trial in complete if trial.value is not None]
        return max(valued, key=lambda item: item[0])[1] if valued else None

    @property
    def cases(self) -> str:
        """On how many cases a trial is measured, in words."""
        folds = f" in {len(self.held_out)} folds" if len(self.held_out) > 1 else ""
        return f"{sum(self.held_out)} held-out training cases{folds}"

    @property
    def settled(self) -> int:
        """Number of trials that ended by themselves."""
        return sum(trial.settled for trial in self.trials)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        best = self.best
        return {**canonical(self), "best": canonical(best) if best else None}


def write_study(study: StudyRecord, mlruns: Path, *, plot: Callable[[Path], object] | None = None) -> str:
    """Write what MLflow lacks of a study.

    Args:
        study: its record; trials that run or wait are left out.
        mlruns: where MLflow's database is.
        plot: writes pictures and tables into a folder; called where trials ended since it was called last.

    Returns:
        The parent's run id.
    """
    for key, value in _LIMITS.items():
        os.environ.setdefault(key, value)
    ended = [trial for trial in study.trials if trial.state in _RUN_STATUS and trial.seconds is not None]
    with mlflow_client.open_client(mlruns) as client:
        experiment = mlflow_client.experiment_id(client, f"{study.model}-search", mlruns)
        parent = _parent(client, experiment, study, ended)
        written = _children(client, experiment, parent)
        for trial in ended:
            run = written.get(trial.number)
            if run is not None and run.data.tags[STATE] != trial.state:
                client.delete_run(run.info.run_id)
                run = None
            if run is None:
                _write_trial(client, experiment, parent, study, trial)
        _write_best(client, parent, study, ended)
        if plot and client.get_run(parent).data.tags.get(_DRAWN) != str(len(ended)):
            with tempfile.TemporaryDirectory() as folder:
                plot(Path(folder))
                client.log_artifacts(parent, folder)
            client.set_tag(parent, _DRAWN, str(len(ended)))
    return parent


def _parent(client: MlflowClient, experiment: str, study: StudyRecord, ended: Sequence[TrialRecord]) -> str:
    found = client.search_runs([experiment], f"tags.`{_STUDY}` = '{study.name}'", max_results=1)
    if found:
        return found[0].info.run_id
    tags = {
        _STUDY: study.name,
        "study_fingerprint": study.fingerprint,
        "model": study.model,
        "held_out_cases": " ".join(map(str, study.held_out)),
    }
    start = min((trial.started_ms for trial in ended if trial.started_ms is not None), default=None)
    return client.create_run(experiment, start_time=start, run_name=study.name, tags=tags).info.run_id


def _children(client: MlflowClient, experiment: str, parent: str) -> dict[int, Run]:
    """Runs of a study's trials by number; a run that was written in part is removed."""
    children: dict[int, Run] = {}
    for run in client.search_runs([experiment], f"tags.`{_PARENT}` = '{parent}'", max_results=50_000):
        number = int(run.data.tags[_TRIAL])
        if STATE not in run.data.tags or number in children:
            client.delete_run(run.info.run_id)
        else:
            children[number] = run
    return children


def _write_trial(
    client: MlflowClient, experiment: str, parent: str, study: StudyRecord, trial: TrialRecord
) -> None:
    from mlflow.entities import Param, RunTag

    tags = {
        _PARENT: parent,
        _TRIAL: str(trial.number),
        "training_fingerprint": trial.training,
        "epochs_trained": str(trial.epochs),
        "reason": trial.reason,
        "retry_of": " ".join(map(str, trial.retry_of)),
    }
    tags = {key: value for key, value in tags.items() if value}
    name = f"{study.name}-{trial.number}"
    run = client.create_run(experiment, start_time=trial.started_ms, run_name=name, tags=tags)
    run_id, end = run.info.run_id, trial.ended_ms
    metrics = [(f"{study.metric} so far", step, value, end) for step, value in trial.reported.items()]
    if trial.value is not None:
        metrics.append((study.metric, 0, trial.value, end))
    write_metrics(client, run_id, metrics)
    # The state comes last: a run that has it is whole.
    params = [Param(key, str(value)) for key, value in trial.drawn.items()]
    client.log_batch(run_id, params=params, tags=[RunTag(STATE, trial.state)])
    client.set_terminated(run_id, _RUN_STATUS[trial.state], end_time=end)


def _write_best(client: MlflowClient, parent: str, study: StudyRecord, ended: Sequence[TrialRecord]) -> None:
    """The parent's curve: the best value after each complete trial."""
    key, best, metrics = f"best {study.metric}", float("-inf"), []
    written = {item.step for item in client.get_metric_history(parent, key)}
    for trial in ended:
        if trial.state == "complete" and trial.value is not None:
            best = max(best, trial.value)
            if trial.number not in written:
                metrics.append((key, trial.number, best, trial.ended_ms))
    write_metrics(client, parent, metrics)
    client.set_terminated(parent, end_time=max((trial.ended_ms for trial in ended), default=None))
