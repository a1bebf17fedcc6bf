"""DVC's stages as Prefect tasks, then the ledger. ``python flows/pipeline.py --help``

Which stage needs which is DVC's to say, and so is what is up to date: the flow reads DVC's graph, asks
``dvc status`` once, and runs ``dvc repro --single-item`` for the rest, wave by wave.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import conductor

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture, wait
from prefect.states import Completed, Failed, State
from prefect.task_runners import ThreadPoolTaskRunner

from coronet.config import MODELS
from coronet.dvc_repository import remove_broken_rwlock
from coronet.errors import CoronetError
from coronet.files import exclusive
from graph import Node, read_waves

if TYPE_CHECKING:
    from prefect.client.schemas.objects import TaskRun
    from prefect.tasks import Task

UP_TO_DATE, LOCKED, MEMORY = "Up to date", "Locked", "Out of memory"
STAGE_FAILED, REFUSED = "Stage failed", "Refused"
LOCK_SIGNS = ("Unable to acquire lock", "is busy, it is being blocked by")
KILLED = 128 + 9
MEMORY_SIGNS = ("out of memory", "MemoryError", "Cannot allocate memory", "exited with -9", "exited with 137")
"""Of a stage, or of DVC itself, that was killed outright, too: on Linux that is how memory runs out."""
TAIL_LINES = 12


def may_help(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether trying again may help: a lock is given back, and memory may be free then."""
    return state.name in (LOCKED, MEMORY)


@task(
    cache_policy=NO_CACHE,
    task_run_name="dvc status",
    retries=3,
    retry_delay_seconds=[2, 10, 60],
    retry_condition_fn=may_help,
)
def status() -> State[Any]:
    """Names of the stages that DVC finds changed."""
    code, lines = _dvc("status", "--json", quiet=True)
    if code != 0:
        return _failed("dvc status", code, lines)
    # Warnings may stand before the one line of JSON.
    changed = frozenset(json.loads(lines[-1]))
    return Completed(data=changed, message=f"{len(changed)} stages are changed: {', '.join(sorted(changed))}")


@task(
    cache_policy=NO_CACHE,
    task_run_name="{stage}",
    retries=3,
    retry_delay_seconds=[2, 10, 60],
    retry_condition_fn=may_help,
)
def run_stage(stage: str) -> State[Any]:
    """Run one stage by DVC, which skips it or takes it from its cache where it can."""
    code, lines = _dvc("repro", "--single-item", stage)
    return Completed() if code == 0 else _failed(stage, code, lines)


@task(cache_policy=NO_CACHE, task_run_name="{stage}")
def skip_stage(stage: str) -> State[Any]:
    """Show that a stage is up to date."""
    return Completed(name=UP_TO_DATE, message=f"{stage} is up to date.")


@task(cache_policy=NO_CACHE, task_run_name="ledger sync")
def sync_ledger() -> None:
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
    targets: list[str] | None = None,
    side_by_side: int = 2,
    make_versions: bool = True,
    allow_dirty: bool = False,
) -> State[Any]:
    """Bring DVC's stages up to date, tell the ledger, and register what was trained.

    Args:
        targets: stages to end with; all by default, and only then the ledger is told.
        side_by_side: stages of one wave that may run at once; those marked ``alone`` never do.
        make_versions: of the trainings, challengers of the champions.
        allow_dirty: register from code that is not committed, and keep the difference with the version.
    """
    try:
        with conductor.tracked(), exclusive(Path("mlruns/pipeline/.lock")):
            failed = _run_waves(targets or (), side_by_side)
            if not failed and not targets:
                failed = _tell(make_versions, allow_dirty)
    except Exception as error:
        return conductor.failure(error)
    return Failed(message="\n".join(failed)) if failed else Completed(message="Everything is up to date.")


def _run_waves(targets: Sequence[str], side_by_side: int) -> list[str]:
    """Run what is out of date, wave by wave; messages of what failed, after which nothing is begun."""
    remove_broken_rwlock()
    waves = read_waves(targets)
    found = status(return_state=True)
    if not found.is_completed():
        return [found.message]
    changed = found.result()
    for wave in waves:
        stale = [node for node in wave if node.name in changed or node.needs & changed]
        for node in wave:
            if node not in stale:
                skip_stage(node.name)
        states = _run_wave(stale, side_by_side)
        if failed := [state.message for state in states if not state.is_completed()]:
            return failed
    return []


def _tell(make_versions: bool, allow_dirty: bool) -> list[str]:
    """Tell the ledger and show what was reached; messages of what failed."""
    sync_ledger()
    show_results()
    states = [register_model(model, allow_dirty, return_state=True) for model in MODELS if make_versions]
    return [state.message for state in states if not state.is_completed()]


def _run_wave(nodes: Sequence[Node], side_by_side: int) -> list[State[Any]]:
    """Run the stages of a wave; those that need the machine for themselves come last, one by one."""
    with ThreadPoolTaskRunner(max_workers=side_by_side) as runner:
        futures: list[PrefectFuture[Any]] = [
            runner.submit(run_stage, parameters={"stage": node.name}) for node in nodes if not node.alone
        ]
        try:
            wait(futures)
        except BaseException:
            # The runner waits for its threads, and these for DVC.
            conductor.end_children()
            raise
    states = [future.state for future in futures]
    for node in nodes:
        if node.alone and all(state.is_completed() for state in states):
            states.append(run_stage(node.name, return_state=True))
    return states


def _dvc(*arguments: str, quiet: bool = False) -> tuple[int, list[str]]:
    """Run DVC, log what it says, and return its exit code and lines; empty ones are left out."""
    run_logger = get_run_logger()
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", *arguments]
    lines: list[str] = []
    with conductor.guarded(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as child:
        assert child.stdout is not None
        for line in filter(None, map(str.rstrip, child.stdout)):
            lines.append(line)
            if not quiet:
                run_logger.info("%s", line)
    return child.returncode, lines


def _failed(stage: str, code: int, lines: Sequence[str]) -> State[Any]:
    text = "\n".join(lines)
    name = STAGE_FAILED
    if any(sign in text for sign in LOCK_SIGNS):
        name = LOCKED
    elif code == KILLED or any(sign in text for sign in MEMORY_SIGNS):
        name = MEMORY
    tail = "\n".join(lines[-TAIL_LINES:])
    return Failed(name=name, message=f"{stage}: {name.lower()}.\n{tail}")


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Run the flow; the exit code is 2 where it failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--targets", nargs="+", metavar="STAGE", help="stages to end with; all by default")
    parser.add_argument("--side-by-side", type=int, default=2, metavar="N", help="stages at once (2)")
    parser.add_argument("--no-register", dest="make_versions", action="store_false", help="make no versions")
    parser.add_argument("--allow-dirty", action="store_true", help="register from code that is not committed")
    chosen = vars(parser.parse_args())
    sys.exit(conductor.conduct(lambda: pipeline(**chosen, return_state=True)))


if __name__ == "__main__":
    main()
