"""One process of a search: takes trials of a study until all are done.

``python -m coronet.search.worker NUMBER MODEL PROJECT STUDY TRIALS`` reads the storage URL from its
environment, so that a password in it is in no process list.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import optuna
from optuna.trial import TrialState

from coronet import terminal
from coronet.errors import Busy, SearchError
from coronet.files import exclusive
from coronet.memory import keep_memory
from coronet.process import end_with_parent
from coronet.search import database
from coronet.search.objective import BEGUN, Objective, TrialFailed
from coronet.search.study_plan import StudyPlan, make_study_plan
from coronet.search.study_record import read_study

if TYPE_CHECKING:
    from coronet.config import SearchParams

logger = logging.getLogger("coronet")
STORAGE = "CORONET_STORAGE"
_WAIT_SECONDS = 1.0  # between two looks at trials that other workers train


def run_trials(
    plan: StudyPlan, study: optuna.Study, *, trials: int, after: Callable[[], None] | None = None
) -> None:
    """Take trials until the study has ``trials`` that ended, killed ones not counted.

    One process of this computer draws at a time, so that no two start the last trial. While others train the
    last ones, it waits, to repeat one whose heartbeat stops.

    Args:
        plan: what the study is of.
        study: from `coronet.search.database.open_study`, with a heartbeat.
        trials: how many there shall be in all.
        after: called after each trial of this process.

    Raises:
        SearchError: the database failed.
    """
    lock = plan.work / "studies" / f"{study.study_name}.lock"
    study.pruner = _pruner(plan.params.search)
    waiting = False
    with _storage_errors():
        while True:
            with contextlib.ExitStack() as drawing:
                drawing.enter_context(exclusive(lock, seconds=None))
                _fail_stale(plan, study)
                record = read_study(study)
                running = [trial.number for trial in record.trials if trial.state == "running"]
                if record.settled >= trials:
                    return
                begin = record.settled + len(running) < trials
                if begin:
                    study.sampler = _sampler(plan, len(record.trials))
                    _run_trial(plan, study, Objective(plan, on_drawn=drawing.close))
            if begin:
                _remove_checkpoints(plan, study)
                if after:
                    after()
                waiting = False
                continue
            if not waiting:
                grace = plan.params.search.grace_s
                logger.info(
                    "waiting for trials in work: %s; one whose worker is gone is repeated after %d s",
                    ", ".join(map(str, running)),
                    grace,
                )
            waiting = True
            time.sleep(_WAIT_SECONDS)


def _run_trial(plan: StudyPlan, study: optuna.Study, objective: Objective) -> None:
    """Run one trial and log how it ended."""

    def log(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        record = read_study(study).trials[trial.number]
        value = "" if record.value is None else f" {record.value:.4f}"
        reason = f" ({record.reason})" if record.reason else ""
        logger.info("trial %d: %s%s%s", record.number, record.state, value, reason)

    try:
        study.optimize(objective, n_trials=1, catch=(TrialFailed,), callbacks=[log], gc_after_trial=True)
    except Exception:
        if not objective.lost:
            raise
        logger.warning("another worker took this one for dead and repeats its trial")
    finally:
        import torch

        torch.cuda.empty_cache()


def _fail_stale(plan: StudyPlan, study: optuna.Study) -> None:
    """Fail the trials whose heartbeat stopped, and queue them again."""
    optuna.storages.fail_stale_trials(study)
    # Optuna misses a heartbeat only where there was one: not if the worker was killed as it took the trial.
    grace = datetime.timedelta(seconds=plan.params.search.grace_s)
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        late = trial.datetime_start is None or datetime.datetime.now() - trial.datetime_start > grace
        if late and trial.user_attrs.get(BEGUN) != trial.number:
            # a worker of another computer may have done so in between
            with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError, ValueError):
                study.tell(trial.number, state=TrialState.FAIL)
                retries = plan.params.search.retries
                optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=retries)(study, trial)


def _remove_checkpoints(plan: StudyPlan, study: optuna.Study) -> None:
    """Remove the checkpoints of trials that ended; their values are in the study."""
    for trial in read_study(study).trials:
        folder = plan.work / (trial.training or "none")
        if not trial.settled or not folder.exists():
            continue
        # The lock file stays: whoever waits for it must meet whoever comes later.
        with contextlib.suppress(Busy), exclusive(folder / "trial.lock"):
            for item in folder.iterdir():
                if item.is_dir():
                    shutil.rmtree(item)


def _sampler(plan: StudyPlan, draw: int) -> optuna.samplers.BaseSampler:
    """The sampler of one draw; seeded by its number, so that a resumed study repeats no earlier draw."""
    seed = int(np.random.SeedSequence([plan.params.seed, draw]).generate_state(1)[0])
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=plan.params.search.random_trials)


def _pruner(space: SearchParams) -> optuna.pruners.BasePruner:
    """The pruner that ``search.pruner`` names; its steps are epochs."""
    if space.pruner == "median":
        return optuna.pruners.MedianPruner(
            n_startup_trials=space.startup_trials, n_warmup_steps=space.warmup_epochs
        )
    if space.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(
            min_resource=max(1, space.warmup_epochs), max_resource=space.epochs * space.folds_used
        )
    return optuna.pruners.NopPruner()


@contextlib.contextmanager
def _storage_errors() -> Iterator[None]:
    import sqlalchemy

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    except (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError) as error:
        raise SearchError(f"The study database failed: {error}; run the search again to go on.") from error


def run_worker() -> int:
    """Take trials of the study that the arguments name."""
    end_with_parent()
    # An interrupt from the keyboard reaches all processes; the parent passes it on, once.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _interrupt)
    keep_memory()
    return terminal.run_app(lambda: _work(*sys.argv[1:]))


def _interrupt(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _work(number: str, model: str, project: str, study: str, trials: str) -> None:
    logging.basicConfig(level=logging.INFO, format=f"worker {number}: %(message)s", stream=sys.stderr)
    plan = make_study_plan(model, Path(project))
    opened = database.open_storage(plan.project, os.environ.get(STORAGE), space=plan.params.search)
    run_trials(plan, database.open_study(plan, study, opened), trials=int(trials))


if __name__ == "__main__":
    sys.exit(run_worker())
