"""A folder of scans scored under Prefect. ``python flows/batch.py --help``

`coronet.scoring.batch` does the work; it goes on where a run that was stopped had left off.
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
from prefect.states import Completed, Failed, State

from coronet.io.file_listing import is_content

RESULTS = Path("mlruns/scores")
IDLE = "Nothing to do"
SHOWN = 1000
"""Rows of the table that Prefect keeps; ``scores.csv`` has all."""


@task(cache_policy=NO_CACHE)
def score_scans(
    folder: Path, out: Path | None, *, heart_model: str, calcium_model: str, again: bool, quiet_s: float
) -> State[Any]:
    """Score what is new in the folder."""
    from coronet.inference.devices import pick_device
    from coronet.registry.version_quality import load_scoring_model
    from coronet.report.scan_page import write_scan_result
    from coronet.scoring.batch import Scorer, score_folder

    device = pick_device()
    bar = create_progress_artifact(progress=0.0, description="Files and sub-folders done, in per cent.")

    def advance(done: int, entries: int) -> None:
        update_progress_artifact(artifact_id=bar, progress=100.0 * done / entries)

    try:
        scorer = Scorer(
            heart_model=load_scoring_model(heart_model, part="heart", device=device),
            calcium_model=load_scoring_model(calcium_model, part="calcium", device=device),
        )
        found = score_folder(
            folder,
            out or RESULTS / scorer.key,
            scorer=scorer,
            write=write_scan_result,
            again=again,
            quiet_s=quiet_s,
            data=Path("data"),
            progress=advance,
        )
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
    heart_model: str = "build/heart/fit",
    calcium_model: str = "build/calcium/fit",
    again: bool = False,
    quiet_s: float = 0.0,
) -> State[Any]:
    """Score every scan of a folder that has no score yet.

    Args:
        folder: DICOM series and volume files.
        out: results: a folder a scan, and scores.csv; one under mlruns/scores for each pair of models by
            default, so that a new champion scores all anew.
        heart_model: folder or registered version of the heart network.
        calcium_model: the same of the calcium network.
        again: try scans once more that could not be scored.
        quiet_s: leave for a later run what was changed less than so many seconds ago.
    """
    with conductor.tracked():
        if folder.is_dir() and not any(is_content(item.name) for item in folder.iterdir()):
            return Completed(name=IDLE, message="There is nothing to score.")
        done = score_scans(
            folder,
            out,
            heart_model=heart_model,
            calcium_model=calcium_model,
            again=again,
            quiet_s=quiet_s,
            return_state=True,
        )
        return Completed(message=done.message) if done.is_completed() else Failed(message=done.message)


def main() -> None:
    """Run the flow; the exit code is 2 where it failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="DICOM series and volume files")
    parser.add_argument("--out", type=Path, help="results; under mlruns/scores by default")
    parser.add_argument("--heart-model", default="build/heart/fit", metavar="MODEL")
    parser.add_argument("--calcium-model", default="build/calcium/fit", metavar="MODEL")
    parser.add_argument("--again", action="store_true", help="try scans once more that could not be scored")
    chosen = vars(parser.parse_args())
    sys.exit(conductor.conduct(lambda: batch(**chosen, return_state=True)))


if __name__ == "__main__":
    main()
