"""What pruning saves: the same search with and without it, from the same seed.

It trains on the project's prepared cases in a temporary folder, so that the project's own studies are not
touched. Run after `dvc repro`: python benchmarks/pruning.py [--model heart] [--trials 8] [--json]
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path

from coronet import config
from coronet.search.adopt import replace_values
from coronet.search.study import run_study
from coronet.tracking.study_runs import StudyRecord


def run(model: str, project: Path, folder: Path, *, trials: int, pruner: str) -> tuple[StudyRecord, float]:
    """Search in ``folder`` on the cases of ``project``; the result and its seconds of processor time."""
    profile = config.load_params(project / "params.yaml").profile
    text = (project / "params.yaml").read_text(encoding="utf-8")
    folder.mkdir()
    (folder / "params.yaml").write_text(
        replace_values(text, {f"profiles.{profile}.search.pruner": pruner}), encoding="utf-8"
    )
    (folder / "build").symlink_to((project / "build").resolve(), target_is_directory=True)
    started = time.process_time()
    return run_study(model, folder, trials=trials, track=False), time.process_time() - started


def describe(result: StudyRecord, seconds: float) -> dict[str, float]:
    """The figures of one search."""
    assert result.best is not None
    return {
        "epochs": sum(trial.epochs for trial in result.trials),
        "pruned": sum(trial.state == "pruned" for trial in result.trials),
        "processor_seconds": round(seconds, 1),
        "best": round(result.best.value or 0.0, 4),
        "best_trial": result.best.number,
    }


def main() -> None:
    """Print a table and what was saved."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=("heart", "calcium"), default="heart")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--project", type=Path, default=Path())
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as name:
        for pruner in ("none", "median"):
            found[pruner] = describe(
                *run(chosen.model, chosen.project, Path(name) / pruner, trials=chosen.trials, pruner=pruner)
            )
    saved = 1 - found["median"]["epochs"] / found["none"]["epochs"]
    if chosen.json:
        print(json.dumps({**found, "saved": saved, "model": chosen.model, "trials": chosen.trials}))
        return
    print(f"{chosen.model}, {chosen.trials} trials; {platform.machine()}\n")
    print("| pruner | epochs trained | trials pruned | processor s | best | of trial |")
    print("|---|---|---|---|---|---|")
    for pruner, row in found.items():
        print(f"| {pruner} | {' | '.join(str(value) for value in row.values())} |")
    print(f"\n{saved:.0%} of the epochs saved")


if __name__ == "__main__":
    main()
