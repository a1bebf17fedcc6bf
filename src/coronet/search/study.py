"""A whole search: Optuna optimises a study in one process or in several."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from coronet.errors import SearchError
from coronet.search import database, worker
from coronet.search.study_plan import make_study_plan
from coronet.search.study_record import read_study, write_to_mlflow
from coronet.tracking.study_runs import StudyRecord

if TYPE_CHECKING:
    import optuna

logger = logging.getLogger("coronet")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_RESTARTS = 3  # how often each worker that ended by an error or a signal is started again
_REFUSED = 2  # exit code of a worker that would be refused again
_POLL_SECONDS = 0.3


def run_study(
    model: str,
    project: Path = Path(),
    *,
    trials: int | None = None,
    workers: int = 1,
    storage: str | None = None,
    name: str | None = None,
    track: bool = True,
) -> StudyRecord:
    """Search better parameters for a model, or resume a search.

    Args:
        model: ``heart`` or ``calcium``.
        project: the folder of ``params.yaml``, after ``dvc repro`` has prepared the cases.
        trials: how many the study shall have in all; ``search.trials`` without it.
        workers: processes.
        storage: an SQLAlchemy URL; ``mlruns/optuna.db`` without it.
        name: of the study; made of the model and everything the study is of without it.
        track: write trials that ended to MLflow; where it is away, the search goes on without.

    Raises:
        SearchError: the study is of something else, or no trial of it came to a value.
        StageError: nothing is prepared yet.
    """
    plan = make_study_plan(model, project)
    wanted = plan.params.search.trials if trials is None else trials
    name = name or plan.study
    if not _NAME.fullmatch(name):
        raise SearchError(
            f'A study cannot be called "{name}"; use up to 64 letters, digits, ".", "_" and "-".'
        )
    opened = database.open_storage(plan.project, storage, space=plan.params.search)
    study = database.open_study(plan, name, opened)
    logger.info("study %s: %d of %d trials are done", name, read_study(study).settled, wanted)
    failed = False

    def report(*, pictures: bool = False) -> None:
        """Write to MLflow; where that fails, warn once, and try again only at the end."""
        nonlocal failed
        if not track or (failed and not pictures):
            return
        try:
            write_to_mlflow(study, plan.project, pictures=pictures)
        except Exception as error:
            if not failed:
                logger.warning(
                    "MLflow cannot be written (%s: %s); `coronet tracking sync` writes it later",
                    type(error).__name__,
                    str(error).partition("\n")[0],
                )
            failed = True

    if workers == 1:
        worker.run_trials(plan, study, trials=wanted, after=report)
    else:
        task = (model, str(Path(project).resolve()), name, str(wanted))
        environment = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // workers)), **os.environ}
        environment[worker.STORAGE] = storage or ""

        def start(number: int) -> subprocess.Popen[bytes]:
            command = [sys.executable, "-m", "coronet.search.worker", str(number), *task]
            return subprocess.Popen(command, env=environment)

        _run_workers(study, start, trials=wanted, workers=workers, after=report)
    report(pictures=True)
    result = read_study(study)
    if result.best is None:
        reasons = Counter(trial.reason for trial in result.trials if trial.settled and trial.reason)
        common = f"; most often: {reasons.most_common(1)[0][0]}" if reasons else ""
        raise SearchError(
            f'No trial of the study "{name}" came to a value{common}. '
            "Correct that, or search.* in params.yaml, and search again."
        )
    return result


def _run_workers(
    study: optuna.Study,
    start: Callable[[int], subprocess.Popen[bytes]],
    *,
    trials: int,
    workers: int,
    after: Callable[[], None],
) -> None:
    """Run worker processes until all trials are done; start again those that were killed."""
    settled = read_study(study).settled
    restarts = _RESTARTS * workers
    running: dict[int, subprocess.Popen[bytes]] = {}
    try:
        running |= {number: start(number) for number in range(1, min(workers, trials - settled) + 1)}
        while running:
            time.sleep(_POLL_SECONDS)
            for number, process in list(running.items()):
                code = process.poll()
                if code is None:
                    continue
                del running[number]
                if code != 0:
                    logger.warning("worker %d ended with code %d", number, code)
                if code not in (0, _REFUSED) and restarts:
                    restarts -= 1
                    running[number] = start(number)
            if (now := read_study(study).settled) != settled:
                settled = now
                after()
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()
    if settled < trials:
        raise SearchError(
            f'The workers of the study "{study.study_name}" ended before its trials did; their last lines '
            "say why. Run the search again to go on."
        )
