"""From a study's database to MLflow; what is missed now can be written at any later time."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from coronet.fingerprint import canonical
from coronet.search import database
from coronet.search.study_result import StudyResult, read_study
from coronet.search.trials import TrialResult
from coronet.tracking import study_runs
from coronet.tracking.study_runs import StudyRecord, TrialRecord

if TYPE_CHECKING:
    import optuna

logger = logging.getLogger("coronet")
_TABLE = "trials.json"


class StudyReporter:
    """Writes a study to MLflow while it goes on; where that fails, it says so once and stays quiet.

    Only the last call draws pictures, and it tries once more.
    """

    def __init__(self, study: optuna.Study, project: Path) -> None:
        self._study, self._project, self._away = study, project, False

    def tell(self, *, last: bool) -> None:
        """Write what MLflow lacks; never raises."""
        if self._away and not last:
            return
        try:
            _write(self._study, self._project, pictures=last)
        except Exception as error:
            if not self._away:
                logger.warning(
                    "MLflow cannot be written (%s: %s); `coronet tracking sync` writes it later",
                    type(error).__name__,
                    str(error).partition("\n")[0],
                )
            self._away = True


def sync_studies(project: Path, *, storage: str | None = None) -> dict[str, str]:
    """Write to MLflow what it lacks of all studies; returns the parents' run ids by the studies' names."""
    import optuna

    project = Path(project)
    if storage is None and not (project / "mlruns" / "optuna.db").exists():
        return {}
    opened = database.open_storage(project, storage)
    return {
        name: _write(optuna.load_study(study_name=name, storage=opened), project, pictures=True)
        for name in database.study_names(opened)
    }


def _write(study: optuna.Study, project: Path, *, pictures: bool) -> str:
    """Write what MLflow lacks of a study, and return the parent's run id."""
    from coronet.search.study_plots import draw_study

    result = read_study(study)
    record = to_record(result)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if pictures:
            draw_study(study, folder, metric=result.metric)
            (folder / _TABLE).write_text(json.dumps(result.to_json(), indent=2) + "\n", encoding="utf-8")
        digest = hashlib.sha256(json.dumps(canonical(record), sort_keys=True).encode()).hexdigest()
        return study_runs.write(
            record, Path(project) / "mlruns", pictures=folder if pictures else None, digest=digest
        )


def to_record(result: StudyResult) -> StudyRecord:
    """What MLflow is told of a study."""
    return StudyRecord(
        name=result.name,
        model=result.model,
        metric=result.metric,
        trials=tuple(_trial(trial) for trial in result.trials if trial.seconds is not None),
        tags={
            "study_fingerprint": result.fingerprint,
            "model": result.model,
            "held_out": " ".join(str(count) for count in result.held_out),
        },
    )


def _trial(trial: TrialResult) -> TrialRecord:
    started = trial.started_ms or 0
    tags = {
        "training_fingerprint": trial.training,
        "epochs_trained": str(trial.epochs),
        "reason": trial.reason,
        "retry_of": " ".join(str(number) for number in trial.retry_of),
    }
    return TrialRecord(
        number=trial.number,
        state=trial.state,
        value=trial.value,
        params=trial.drawn,
        reported=trial.reported,
        started_ms=started,
        ended_ms=started + round(1000 * (trial.seconds or 0)),
        tags={key: value for key, value in tags.items() if value},
    )
