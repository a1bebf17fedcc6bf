"""How often the 90 % interval of the score and the set of risk groups hold the truth, on new phantoms.

    python benchmarks/certainty.py [--cases 40] [--seed 977] [--build build] [--data FOLDER] [--json FILE]

Phantoms are drawn anew with their exact masks, from a seed that no cohort of the project has; each
is a test scan. --data measures a folder of cases that is there already, such as one of other ranges. The
networks and their calibration are those of --build. Drawing takes some seconds a phantom, scoring about one.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from coronet import config
from coronet.dataset.cases import find_cases
from coronet.dataset.split import Member, Split
from coronet.evaluation.case_scores import CaseScore
from coronet.evaluation.cohort import METRICS, score_cohort
from coronet.files import read_json, write_json
from coronet.phantom.annotated_cohort import make_cohort
from coronet.progress import Progress

SEED = 977


def measure(data: Path, build: Path) -> tuple[tuple[CaseScore, ...], dict[str, Any]]:
    """Score all cases of ``data``; returns their rows and the stage's metrics."""
    members = tuple(Member(case.id, case.id, "test", "none") for case in find_cases(data))
    with tempfile.TemporaryDirectory(prefix="coronet-certainty-") as name, Progress("score") as progress:
        rows = score_cohort(
            data,
            Split(seed=0, members=members),
            heart_fit=build / "heart" / "fit",
            calcium_fit=build / "calcium" / "fit",
            out=Path(name) / "scores",
            params=config.load_params(Path("params.yaml")),
            with_drawn=False,
            progress=progress.update,
        )
        return rows, read_json(Path(name) / "scores" / METRICS)


def table(rows: tuple[CaseScore, ...], metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """The figures of `docs/results.md`, name and value."""
    found = metrics["certainty"]
    if found is None:
        raise SystemExit("The calcium network is not calibrated; `dvc repro calibrate` calibrates it.")
    interval, groups = found["interval"], found["groups"]
    cases = interval["cases"]
    calcified = [row for row in rows if row.reference_agatston > 0]
    covered = sum(
        row.low <= row.reference_agatston <= row.high
        for row in calcified
        if row.low is not None and row.high is not None
    )
    return [
        ("phantoms", str(len(rows))),
        ("90 % interval holds the score of the exact mask", f"{interval['covered']} of {cases}"),
        ("the same, phantoms with calcium", f"{covered} of {len(calcified)}"),
        (
            "median width, repeatability limit",
            f"{interval['median_width']:.0f}, {interval['median_limit']:.0f}",
        ),
        ("90 % set of groups holds the group of the exact mask", f"{groups['held']} of {cases}"),
        ("sets of one group, right of them", f"{groups['sure']}, {groups['sure_and_right']}"),
        (
            "group of the counted score is right",
            f"{sum(row.predicted_group == row.reference_group for row in rows)} of {len(rows)}",
        ),
        *(
            (f"{name}, calibrated (network)", f"{found['calibrated'][key]:.3f} ({found['network'][key]:.3f})")
            for name, key in (("Brier score", "brier"), ("calibration error", "error"))
        ),
        (
            "lesions that are no candidate",
            f"{found['missed']['lesions']} in {found['missed']['scans']} scans",
        ),
    ]


def main() -> None:
    """Draw, score, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--build", type=Path, default=Path("build"))
    parser.add_argument("--data", type=Path, help="measure this folder of cases")
    parser.add_argument("--json", type=Path, help="write metrics and rows here too")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="coronet-phantoms-") as folder:
        data = given.data or Path(folder)
        if given.data is None:
            make_cohort(data, cases=given.cases, seed=given.seed, workers=os.cpu_count())
        rows, metrics = measure(data, given.build)
    for name, value in table(rows, metrics):
        print(f"{name:<55} {value}")
    for row in rows:
        print(
            f"{row.case}: {row.predicted_agatston:.1f} ({row.low} ... {row.high}), exact "
            f"{row.reference_agatston:.1f}; {row.likely_groups}"
        )
    if given.json:
        write_json(given.json, {"metrics": metrics, "rows": [vars(row) for row in rows]})


if __name__ == "__main__":
    main()
