"""A whole search: one process, or several that are watched over."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from coronet.errors import SearchError
from coronet.files import exclusive
from coronet.search import database, worker
from coronet.search.study_plan import StudyPlan, make_study_plan
from coronet.search.study_result import StudyResult, read_study
from coronet.search.study_sync import StudyReporter
from coronet.search.trials import next_draw

if TYPE_CHECKING:
    import optuna

logger = logging.getLogger("coronet")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_RESTARTS = 3
"""How often each worker that ended by an error or a signal is started again."""
_REFUSED = 2
"""How a worker ends that would be refused again."""
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
) -> StudyResult:
    """Search better parameters for a model, or go on with a search that was broken off.

    Args:
        model: ``heart`` or ``calcium``.
        project: the folder of ``params.yaml``, after ``dvc repro`` has prepared the cases.
        trials: how many the study shall have in all; ``run_study.trials`` without it.
        workers: processes. One draws the same trials each time; several do not.
        storage: an SQLAlchemy URL; ``mlruns/optuna.db`` without it.
        name: of the study; one of the model and everything the study is of without it.
        track: tell MLflow of trials that came to an end; a search does without it where it is away.

    Raises:
        SearchError: the study is of something else, or no trial of it came to an end.
        StageError: nothing is prepared yet.
    """
    plan = make_study_plan(model, project)
    wanted = plan.params.search.trials if trials is None else trials
    name = _check_name(name or plan.study)
    opened = database.open_storage(plan.project, storage, space=plan.params.search)
    study = database.open_study(plan, name, opened)
    logger.info(
        "study %s: %d of %d trials are done", name, sum(t.settled for t in read_study(study).trials), wanted
    )
    teller = StudyReporter(study, plan.project) if track else None

    def after() -> None:
        if teller:
            teller.tell(last=False)

    if workers == 1:
        worker.work(plan, study, trials=wanted, after=after)
    else:
        task = worker.Task(model, str(Path(project).resolve()), name, wanted, storage)
        _watch(plan, study, task, workers=workers, after=after)
    result = read_study(study)
    if teller:
        teller.tell(last=True)
    _check_result(result)
    return result


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise SearchError(f"A study cannot be called «{name}»; use up to 64 letters, digits, «.», «_», «-».")
    return name


def _check_result(result: StudyResult) -> None:
    if result.best is not None:
        return
    reasons = Counter(trial.reason for trial in result.trials if trial.settled and trial.reason)
    common = f"; most often: {reasons.most_common(1)[0][0]}" if reasons else ""
    raise SearchError(
        f"No trial of the study «{result.name}» came to a value{common}. "
        "Mend that, or search.* in params.yaml, and search again."
    )


def _watch(
    plan: StudyPlan, study: optuna.Study, task: worker.Task, *, workers: int, after: Callable[[], None]
) -> None:
    """Run worker processes until all trials are done; start again those that were killed."""
    left = _RESTARTS * workers
    ended = _settled(study)
    with _ending() as running:
        for number in range(workers):
            running[number] = _start(task, number, workers)
        while running:
            time.sleep(_POLL_SECONDS)
            for number, process in list(running.items()):
                if process.poll() is None:
                    continue
                del running[number]
                if process.returncode != 0:
                    logger.warning("worker %d ended with code %d", number + 1, process.returncode)
                again = process.returncode != _REFUSED and (process.returncode != 0 or not running)
                if left and again and _open(plan, study, task):
                    left -= 1
                    running[number] = _start(task, number, workers)
            if (now := _settled(study)) != ended:
                ended = now
                after()
    if _open(plan, study, task):
        raise SearchError(
            f"The workers of the study «{task.study}» ended before its trials did; their last lines say why. "
            "Run the search again to go on."
        )


def _settled(study: optuna.Study) -> int:
    return sum(trial.settled for trial in read_study(study).trials)


def _open(plan: StudyPlan, study: optuna.Study, task: worker.Task) -> bool:
    """Whether a worker would find something to do."""
    with exclusive(worker.folder_of(plan, study.study_name) / "claim.lock", seconds=None):
        worker.rescue(plan, study)
        waiting = next_draw(
            study.get_trials(deepcopy=False), wanted=task.trials, retries=plan.params.search.retries
        )
    return waiting is not None


def _start(task: worker.Task, number: int, workers: int) -> subprocess.Popen[str]:
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    process = subprocess.Popen(
        [sys.executable, "-m", "coronet.search.worker"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env={"OMP_NUM_THREADS": threads, **os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError), process.stdin:
        json.dump(dataclasses.asdict(task), process.stdin)
    threading.Thread(target=_forward, args=(process, number), daemon=True).start()
    return process


def _forward(process: subprocess.Popen[str], number: int) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        logger.info("worker %d: %s", number + 1, line.rstrip())


@contextlib.contextmanager
def _ending() -> Iterator[dict[int, subprocess.Popen[str]]]:
    """Processes by number; those that still run are ended on the way out."""
    running: dict[int, subprocess.Popen[str]] = {}
    try:
        yield running
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()
