"""Reads a study from Optuna's database, and writes it to MLflow through `coronet.tracking.study_runs`."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coronet.search import database
from coronet.tracking.study_runs import StudyRecord, TrialRecord, write_study

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

logger = logging.getLogger("coronet")
REASON, TRAINING, TRAINED = "reason", "training", "epochs_trained"
"""What a trial notes of itself: why it ended, the fingerprint of its training, epochs that it trained."""
_RETRIES = "retry_history"  # Optuna's own key for the numbers of the trials that a trial repeats
_FEWEST = 2  # complete trials, before which a picture has nothing to compare


def read_study(study: optuna.Study) -> StudyRecord:
    """What a study holds now."""
    facts, metrics = study.user_attrs, study.metric_names
    assert metrics is not None, study.study_name
    trials = study.get_trials(deepcopy=False)
    retried = {number for trial in trials for number in trial.system_attrs.get(_RETRIES, ())}
    return StudyRecord(
        name=study.study_name,
        model=facts[database.BOUND]["model"],
        fingerprint=facts["fingerprint"],
        metric=metrics[0],
        held_out=tuple(facts["folds"]),
        trials=tuple(_read_trial(trial, retried=trial.number in retried) for trial in trials),
    )


def _read_trial(trial: FrozenTrial, *, retried: bool) -> TrialRecord:
    state, reason = trial.state.name.lower(), trial.user_attrs.get(REASON, "")
    before = tuple(trial.system_attrs.get(_RETRIES, ()))
    if state == "fail":
        # every other failure notes its reason before it ends; see `coronet.search.objective`
        state = "killed" if retried and not reason else "failed"
        times = f" {len(before) + 1} times" if before and not retried else ""
        reason = reason or f"its worker was killed{times}"
    start, end = trial.datetime_start, trial.datetime_complete
    return TrialRecord(
        number=trial.number,
        state=state,
        value=trial.value,
        drawn=dict(trial.params),
        reason=reason,
        reported=dict(trial.intermediate_values),
        training=trial.user_attrs.get(TRAINING, ""),
        epochs=trial.user_attrs.get(TRAINED, 0),
        seconds=(end - start).total_seconds() if start and end else None,
        started_ms=round(start.timestamp() * 1000) if start else None,
        retry_of=before,
    )


def write_to_mlflow(study: optuna.Study, project: Path, *, pictures: bool = True) -> str:
    """Write what MLflow lacks of a study, with Optuna's pictures where they are asked for; the run id."""
    record = read_study(study)

    def plot(folder: Path) -> None:
        _draw(study, folder, metric=record.metric)
        (folder / "trials.json").write_text(json.dumps(record.to_json(), indent=2) + "\n", encoding="utf-8")

    return write_study(record, Path(project) / "mlruns", plot=plot if pictures else None)


def sync_studies(project: Path, *, storage: str | None = None) -> Mapping[str, str]:
    """Write to MLflow what it lacks of all studies; the parents' run ids by the studies' names."""
    import optuna

    project = Path(project)
    if storage is None and not (project / "mlruns" / "optuna.db").exists():
        return {}
    opened = database.open_storage(project, storage)
    return {
        name: write_to_mlflow(optuna.load_study(study_name=name, storage=opened), project)
        for name in database.study_names(opened)
    }


def _draw(study: optuna.Study, folder: Path, *, metric: str) -> None:
    """Write Optuna's pictures; one that a study of so few or so equal trials cannot have is left out."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from optuna.visualization import matplotlib as plots

    if sum(trial.state.name == "COMPLETE" for trial in study.get_trials(deepcopy=False)) < _FEWEST:
        return
    named: dict[str, Any] = {"target_name": metric}
    for name, plot, options in (
        ("history", plots.plot_optimization_history, named),
        ("reports", plots.plot_intermediate_values, {}),
        ("importances", plots.plot_param_importances, named),
        ("slices", plots.plot_slice, named),
        ("parallel_coordinates", plots.plot_parallel_coordinate, named),
    ):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                plot(study, **options)
            pyplot.gcf().savefig(folder / f"{name}.png", dpi=110, bbox_inches="tight")
        except (ValueError, RuntimeError) as error:
            logger.info('no picture "%s": %s', name, error)
        finally:
            pyplot.close("all")
