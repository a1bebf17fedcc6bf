"""A search under Prefect. ``python flows/search.py --help``

`coronet.search` does the work: it resumes a study, runs its workers and writes to MLflow. ``CORONET_STORAGE``
is the study's database; it is no parameter, since it may hold a password.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import conductor

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, State

from coronet.config import MODELS


@task(cache_policy=NO_CACHE, task_run_name="search {model}")
def search_model(model: str, trials: int | None, workers: int, name: str | None) -> State[Any]:
    """Train trials until the study has as many as wanted."""
    from coronet.search.study import run_study

    storage = os.environ.get("CORONET_STORAGE")
    try:
        found = run_study(model, Path(), trials=trials, workers=workers, storage=storage, name=name)
    except Exception as error:
        return conductor.failure(error)
    rows = [
        {
            "trial": item.number,
            "state": item.state,
            found.metric: item.value,
            **item.drawn,
            "reason": item.reason,
        }
        for item in found.trials
    ]
    create_table_artifact(
        table=rows, key="trials", description=f"{found.name}: {found.metric}, {found.cases}"
    )
    return Completed(
        message=f"{found.name}: trial {found.best.number} is best, {found.metric} {found.best.value:.4f} "
        f"({found.cases}). `coronet search adopt {found.name}` writes it into params.yaml."
    )


@flow(name="search")
def search(model: str, trials: int | None = None, workers: int = 1, name: str | None = None) -> State[Any]:
    """Search better parameters for a model, or resume a search.

    Args:
        model: heart or calcium.
        trials: how many the study shall have in all; search.trials of params.yaml by default.
        workers: processes.
        name: of the study; one made of model, data and space by default.
    """
    with conductor.tracked():
        return search_model(model, trials, workers, name, return_state=True)


def main() -> None:
    """Run the flow; the exit code is 2 where it failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("--trials", type=int, metavar="N", help="of the study in all (search.trials)")
    parser.add_argument("--workers", type=int, default=1, metavar="K", help="processes (1)")
    parser.add_argument(
        "--study", dest="name", metavar="NAME", help="made of model, data and space by default"
    )
    chosen = vars(parser.parse_args())
    sys.exit(conductor.conduct(lambda: search(**chosen, return_state=True)))


if __name__ == "__main__":
    main()
