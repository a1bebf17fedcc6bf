"""DVC's stages as Prefect tasks, then MLflow and the registry. ``python flows/pipeline.py --help``

Which stage needs which is DVC's to say, and so is what is up to date: the flow takes the stages in DVC's
order, and runs ``dvc repro --single-item`` for each that is not.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import conductor

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, Failed, State

from coronet.config import MODELS
from coronet.dvc_repository import remove_broken_rwlock
from coronet.errors import CoronetError, StageError
from coronet.files import exclusive
from coronet.lists import check_list
from guard import guarded

if TYPE_CHECKING:
    from prefect.client.schemas.objects import TaskRun
    from prefect.tasks import Task

UP_TO_DATE, LOCKED, MEMORY = "Up to date", "Locked", "Out of memory"
STAGE_FAILED, REFUSED = "Stage failed", "Refused"
LOCK_SIGNS = ("Unable to acquire lock", "is busy, it is being blocked by")
MEMORY_SIGNS = ("out of memory", "MemoryError", "Cannot allocate memory", "exited with -9", "exited with 137")
"""Of a stage, or of DVC itself, that was killed outright, too: on Linux that is how memory runs out."""
TAIL_LINES = 12


def may_help(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether trying again may help: a lock is given back, and memory may be free then."""
    return state.name in (LOCKED, MEMORY)


@task(
    cache_policy=NO_CACHE,
    task_run_name="{stage}",
    retries=3,
    retry_delay_seconds=[2, 10, 60],
    retry_condition_fn=may_help,
)
def run_stage(stage: str) -> State[Any]:
    """Bring one stage up to date by DVC, which takes it from its cache where it can."""
    if is_up_to_date(stage):
        return Completed(name=UP_TO_DATE, message=f"{stage} is up to date.")
    run_logger, lines = get_run_logger(), []
    command = [*(sys.executable, "-m", "dvc", "--wait-for-lock"), "repro", "--single-item", stage]
    with guarded(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as child:
        assert child.stdout is not None
        for line in filter(None, map(str.rstrip, child.stdout)):
            lines.append(line)
            run_logger.info("%s", line)
        code = child.wait()
    if code == 0:
        return Completed()
    text = "\n".join(lines)
    name = STAGE_FAILED
    if any(sign in text for sign in LOCK_SIGNS):
        name = LOCKED
    elif code == -signal.SIGKILL or any(sign in text for sign in MEMORY_SIGNS):
        name = MEMORY
    tail = "\n".join(lines[-TAIL_LINES:])
    return Failed(name=name, message=f"{stage}: {name.lower()}.\n{tail}")


@task(cache_policy=NO_CACHE, task_run_name="tracking sync")
def sync_mlflow() -> None:
    """Write to MLflow the runs that it lacks."""
    from coronet.tracking import runs

    for item in runs.sync():
        state = "written" if item.created else "there already"
        get_run_logger().info("%s %s: run %s %s", item.model, item.fingerprint[:12], item.run_id, state)


@task(cache_policy=NO_CACHE, task_run_name="register {model}")
def register_model(model: str, allow_dirty: bool) -> State[Any]:
    """Make a version of the training, and the alias challenger; there may be one already."""
    from coronet.registry.registration import register_version

    try:
        done = register_version(model, allow_dirty=allow_dirty)
    except CoronetError as error:
        return Failed(name=REFUSED, message=f"register {model}: {error}")
    state = "is new" if done.created else "was there already"
    return Completed(message=f"{model}/{done.version.number} {state}.")


@task(cache_policy=NO_CACHE, task_run_name="closing table")
def show_results() -> None:
    """The closing table, and where the report is, as artifacts."""
    from coronet.report import summary

    found = summary.read_summary(Path())
    figures = [{"on test patients": item.name, "": item.value} for item in found.figures]
    create_table_artifact(table=figures, key="closing-table", description="What the last run reached.")
    header = ["reference \\ predicted", *found.groups]
    rows = [[name, *map(str, row)] for name, row in zip(found.groups, found.confusion, strict=True)]
    minutes = [[stage, f"{taken:.2f}"] for stage, taken in found.minutes]
    page = [
        "The report is `build/report/index.html` in the project's folder.",
        *found.notices,
        "## Risk groups",
        _markdown(header, rows),
        "## Minutes",
        _markdown(["stage", "minutes"], minutes),
    ]
    create_markdown_artifact("\n\n".join(page), key="report", description="Risk groups, times, the report.")


@flow(name="pipeline")
def pipeline(
    targets: list[str] | None = None, make_versions: bool = True, allow_dirty: bool = False
) -> State[Any]:
    """Bring DVC's stages up to date, write to MLflow, and register what was trained.

    Args:
        targets: stages to end with; all by default, and only then MLflow is written.
        make_versions: of the trainings, challengers of the champions.
        allow_dirty: register from code that is not committed, and keep the difference with the version.
    """
    try:
        with conductor.tracked(), exclusive(Path("mlruns/pipeline/.lock")):
            remove_broken_rwlock()
            for stage in stages_in_order(targets or ()):
                state = run_stage(stage, return_state=True)
                if not state.is_completed():
                    return Failed(message=state.message)
            failed = [] if targets else _record(make_versions, allow_dirty)
    except Exception as error:
        return conductor.failure(error)
    return Failed(message="\n".join(failed)) if failed else Completed(message="Everything is up to date.")


def stages_in_order(targets: Sequence[str] = ()) -> list[str]:
    """DVC's stages in the order in which `dvc repro` runs them.

    Args:
        targets: stages to end with; all by default.

    Raises:
        StageError: DVC has no such stage, or cannot read its files.
        InputError: a target is empty or named twice.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc.repo.reproduce import collect_stages, get_active_graph, plan_repro

    if targets:
        check_list(targets, "--targets")
    try:
        with contextlib.closing(Repo()) as repo:
            ends = collect_stages(repo, targets) if targets else None
            return [stage.addressing for stage in plan_repro(get_active_graph(repo.index.graph), ends)]
    except DvcException as error:
        reason = " ".join(str(error).split())
        raise StageError(
            f"DVC cannot read its graph: {reason}. Where that file has the marks of a merge conflict, resolve"
            " them; `git restore` brings back the file that was committed."
        ) from error


def is_up_to_date(stage: str) -> bool:
    """Whether DVC has nothing to do for a stage; False where it cannot say now, such as for a lock."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with contextlib.closing(Repo()) as repo, repo.lock:
            return not any(item.changed() for item in repo.stage.collect(stage))
    except DvcException:
        return False


def _record(make_versions: bool, allow_dirty: bool) -> list[str]:
    """Write to MLflow, show what was reached, and register; messages of what failed."""
    sync_mlflow()
    show_results()
    states = [register_model(model, allow_dirty, return_state=True) for model in MODELS if make_versions]
    return [state.message for state in states if not state.is_completed()]


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Run the flow; the exit code is 2 where it failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", nargs="+", metavar="STAGE", help="stages to end with; all by default")
    parser.add_argument("--no-register", dest="make_versions", action="store_false", help="make no versions")
    parser.add_argument("--allow-dirty", action="store_true", help="register from code that is not committed")
    chosen = vars(parser.parse_args())
    sys.exit(conductor.conduct(lambda: pipeline(**chosen, return_state=True)))


if __name__ == "__main__":
    main()
