"""A folder of scans scored under Prefect. ``python flows/batch.py --help``

`coronet.scoring.batch` does the work; it resumes a run that was stopped.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import conductor

from prefect import flow, task
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, State

from coronet.io.file_listing import is_content
from coronet.memory import keep_window_memory
from coronet.networks.bundled import BUNDLED

IDLE = "Nothing to do"
SHOWN = 1000  # rows of the table that Prefect keeps; `scores.csv` has all


@task(cache_policy=NO_CACHE)
def score_scans(folder: Path, out: Path | None, *, models: str, again: bool, quiet_s: float) -> State[Any]:
    """Score what is new in the folder."""
    from coronet import api

    bar = create_progress_artifact(progress=0.0, description="Files and sub-folders done, in per cent.")

    def advance(done: int, entries: int) -> None:
        update_progress_artifact(artifact_id=bar, progress=100.0 * done / entries)

    try:
        found = api.score_batch(folder, out, models, again=again, quiet_s=quiet_s, progress=advance)
    except Exception as error:
        return conductor.failure(error)
    rows = [
        {
            "scan": row.scan,
            "Agatston": row.agatston,
            "group": row.group,
            "learned from": row.learned_from,
            "reason": row.reason,
        }
        for row in found.rows[:SHOWN]
    ]
    title = f"{found.statement.text} {len(found.rows)} scans; research use only."
    create_table_artifact(table=rows, key="scores", description=title)
    scored, refused = len(found.rows) - len(found.refused), len(found.refused)
    return Completed(
        message=f"{found.statement.title} {scored} of {len(found.rows)} scans have a score, "
        f"{found.scored_now} of them new; {refused} could not be scored, and scores.csv says why.".strip()
    )


@flow(name="batch")
def batch(
    folder: Path = Path("inbox"),
    out: Path | None = None,
    *,
    models: str = BUNDLED,
    again: bool = False,
    quiet_s: float = 0.0,
) -> State[Any]:
    """Score every scan of a folder that has no score yet.

    Args:
        folder: DICOM series and volume files.
        out: results: a folder a scan, and scores.csv; one under mlruns/scores for each pair of networks by
            default, so that a new champion scores all anew.
        models: as `coronet score --models` takes them: bundled, build, champion, challenger or
            heart=URI,calcium=URI.
        again: retry scans that could not be scored.
        quiet_s: leave for a later run what was changed less than so many seconds ago.
    """
    keep_window_memory()
    with conductor.tracked():
        if folder.is_dir() and not any(is_content(item.name) for item in folder.iterdir()):
            return Completed(name=IDLE, message="There is nothing to score.")
        return score_scans(folder, out, models=models, again=again, quiet_s=quiet_s, return_state=True)


def main() -> None:
    """Run the flow; the exit code is 2 where it failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="DICOM series and volume files")
    parser.add_argument("--out", type=Path, help="results; under mlruns/scores by default")
    parser.add_argument(
        "--models", default=BUNDLED, help="bundled, build, champion, challenger or heart=URI,calcium=URI"
    )
    parser.add_argument("--again", action="store_true", help="retry scans that could not be scored")
    chosen = vars(parser.parse_args())
    sys.exit(conductor.conduct(lambda: batch(**chosen, return_state=True)))


if __name__ == "__main__":
    main()
