"""One process of a search: takes trials of a study until all are done.

``python -m coronet.search.worker`` reads what to do as JSON from standard input, so that a password in a
storage URL is in no process list.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import logging
import shutil
import sys
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import optuna
from optuna.trial import TrialState

from coronet import files, terminal
from coronet.errors import Busy, SearchError
from coronet.process import end_with_parent, keep_memory
from coronet.search import database
from coronet.search.objective import Objective
from coronet.search.study_plan import StudyPlan, make_study_plan
from coronet.search.trials import RETRIES, WORKER, TrialResult, next_draw, read_trials, to_retry

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

logger = logging.getLogger("coronet")
_WAIT_SECONDS = 1.0
"""Between two looks at trials that others train."""


@dataclasses.dataclass(frozen=True)
class Task:
    """What a worker process is told.

    Attributes:
        model: ``heart`` or ``calcium``.
        project: the folder of ``params.yaml``.
        study: its name.
        trials: how many the study shall have in all.
        storage: an SQLAlchemy URL, or None for the project's own.
    """

    model: str
    project: str
    study: str
    trials: int
    storage: str | None


def folder_of(plan: StudyPlan, study: str) -> Path:
    """Where the workers of a study keep their locks."""
    return plan.work / "studies" / study


def work(
    plan: StudyPlan, study: optuna.Study, *, trials: int, after: Callable[[], None] | None = None
) -> None:
    """Take trials until the study has ``trials`` that came to an end.

    While others train the last of them it waits, to take over one whose worker is killed.

    Args:
        plan: what the study is of.
        study: from `coronet.search.database.open_study`, with signs of life on.
        trials: how many there shall be in all, killed ones not counted.
        after: called after each trial that this process ended.

    Raises:
        SearchError: the database failed.
    """
    space, folder, name = plan.params.search, folder_of(plan, study.study_name), uuid.uuid4().hex[:12]
    study.pruner = _make_pruner(plan)
    with _signed(folder / f"{name}.lock"), _storage_errors():
        while True:
            with contextlib.ExitStack() as claim:
                claim.enter_context(files.exclusive(folder / "claim.lock", seconds=None))
                rescue(plan, study)
                present = study.get_trials(deepcopy=False)
                draw = next_draw(present, wanted=trials, retries=space.retries)
                if draw is not None:
                    study.sampler = _make_sampler(plan, draw)
                    ended = _one(study, Objective(plan, worker=name, started=claim.close))
            if draw is None:
                if not any(trial.state == TrialState.RUNNING for trial in present):
                    return
                time.sleep(_WAIT_SECONDS)
                continue
            _tidy(plan, study)
            if ended and after:
                after()


@contextlib.contextmanager
def _signed(lock: Path) -> Iterator[None]:
    """Hold a worker's lock; the file goes with it, unless it is killed."""
    with files.exclusive(lock):
        try:
            yield
        finally:
            lock.unlink()


def _one(study: optuna.Study, objective: Objective) -> TrialResult | None:
    """Run one trial and return it, or None where another process took it for dead.

    Raises:
        Exception: the disk is full; the trial is taken up again by a later search.
    """
    ended: list[FrozenTrial] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.optimize(
                objective,
                n_trials=1,
                catch=(Exception,),
                callbacks=[lambda _, trial: ended.append(trial)],
                gc_after_trial=True,
            )
    except optuna.exceptions.UpdateFinishedTrialError:
        logger.warning("another worker took this one for dead and has its trial now")
        return None
    _free_gpu()
    if objective.disk_full is not None:
        raise objective.disk_full
    (result,) = read_trials(ended, retries=0)
    logger.info("trial %d: %s", result.number, result.sentence)
    return result


def rescue(plan: StudyPlan, study: optuna.Study) -> None:
    """Queue the trials of killed workers again; call it while holding the claim.

    A worker of this computer is dead where its lock is free. One of another computer is taken for dead when
    it gave no sign of life for ``search.grace_s``.
    """
    space = plan.params.search
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if _dead(trial, folder_of(plan, study.study_name), space.grace_s):
            # Another computer's worker may have told it in between.
            with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError, ValueError):
                study.tell(trial.number, state=TrialState.FAIL)
    for trial in to_retry(study.get_trials(deepcopy=False), retries=space.retries):
        history = [*trial.system_attrs.get(RETRIES, ()), trial.number]
        logger.info("trial %d: its worker was killed; it is queued again", trial.number)
        study.add_trial(
            optuna.create_trial(
                state=TrialState.WAITING,
                params=trial.params,
                distributions=trial.distributions,
                system_attrs={**trial.system_attrs, "failed_trial": history[0], RETRIES: history},
            )
        )


def _dead(trial: FrozenTrial, folder: Path, grace_s: float) -> bool:
    worker = trial.user_attrs.get(WORKER)
    if worker is None:
        # Killed before it could sign; Optuna's own signs of life may be missing, too.
        started = trial.datetime_start or datetime.datetime.now()
        return datetime.datetime.now() - started > datetime.timedelta(seconds=grace_s)
    lock = folder / f"{worker}.lock"
    if not lock.exists():
        return False
    try:
        with files.exclusive(lock):
            return True
    except Busy:
        return False


def _tidy(plan: StudyPlan, study: optuna.Study) -> None:
    """Remove the checkpoints of trials that came to an end; their values are in the study."""
    for result in read_trials(study.get_trials(deepcopy=False), retries=plan.params.search.retries):
        folder = plan.work / (result.training or "none")
        if not result.settled or not folder.exists():
            continue
        # The lock file stays: whoever waits for it must meet whoever comes later.
        with contextlib.suppress(Busy), files.exclusive(folder / "trial.lock"):
            for item in folder.iterdir():
                if item.is_dir():
                    shutil.rmtree(item)


def _make_sampler(plan: StudyPlan, draw: int) -> optuna.samplers.BaseSampler:
    """The sampler of one draw; seeded by its number, so that a resumed study draws as an unbroken one."""
    seed = int(np.random.SeedSequence([plan.params.seed, draw]).generate_state(1)[0])
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=plan.params.search.random_trials)


def _make_pruner(plan: StudyPlan) -> optuna.pruners.BasePruner:
    """The pruner that ``search.pruner`` names; its steps are epochs."""
    space = plan.params.search
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
        yield
    except (optuna.exceptions.StorageInternalError, sqlalchemy.exc.SQLAlchemyError) as error:
        raise SearchError(f"The study database failed: {error}; run the search again to go on.") from error


def _free_gpu() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def main() -> int:
    """Read a `Task` from standard input and do it."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    end_with_parent()
    keep_memory()
    return terminal.run_app(_do_task)


def _do_task() -> None:
    task = Task(**json.load(sys.stdin))
    plan = make_study_plan(task.model, Path(task.project))
    opened = database.open_storage(plan.project, task.storage, space=plan.params.search)
    work(plan, database.open_study(plan, task.study, opened), trials=task.trials)


if __name__ == "__main__":
    sys.exit(main())
