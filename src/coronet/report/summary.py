"""The closing table: what the last `dvc repro` reached, read from its results."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from coronet.errors import StageError
from coronet.evaluation.agreement_statistics import share_of_confusion
from coronet.files import read_json
from coronet.json_lines import read_lines
from coronet.report.notices import describe_floors, describe_test_set

_SCORES = Path("build/scores/metrics.json")
_TIMINGS = Path("mlruns/timings.jsonl")


@dataclasses.dataclass(frozen=True)
class SummaryFigure:
    """One line of the table."""

    name: str
    value: str


@dataclasses.dataclass(frozen=True)
class ClosingSummary:
    """Figures on test patients, the confusion of risk groups, and the minutes of each stage."""

    figures: tuple[SummaryFigure, ...]  # name and value, ready to print
    groups: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]  # cases by reference group (rows) and predicted group (columns)
    minutes: tuple[tuple[str, float], ...]  # of the last run of each stage, in the order of running
    # what the figures mean, as sentences: of the test scans, and of floors that are missed
    notices: tuple[str, ...]

    def to_json(self) -> str:
        """One JSON object."""
        return json.dumps(dataclasses.asdict(self))


def read_summary(project: Path) -> ClosingSummary:
    """Read the figures of the last run.

    Raises:
        StageError: there is no result yet, or it is damaged.
    """
    if not (project / _SCORES).exists():
        raise StageError(f"{_SCORES} is absent; `dvc repro` writes it.")
    scores, minutes = read_json(project / _SCORES), tuple(_minutes(project / _TIMINGS))
    try:
        tested = describe_test_set(scores.get("sources", {}))[1]
        return ClosingSummary(
            figures=tuple(_figures(scores)),
            groups=tuple(scores["groups"]["names"]),
            confusion=tuple(tuple(row) for row in scores["groups"]["confusion"]),
            minutes=minutes,
            notices=tuple(filter(None, (describe_floors(project / "build"), tested))),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise StageError(
            f"{_SCORES} is damaged or of another version; `dvc repro score` writes it."
        ) from error


def _figures(scores: dict[str, Any]) -> list[SummaryFigure]:
    lesions, free, voxels = scores["lesions"], scores["calcium_free"], scores["calcium_voxels"]
    agreement = scores["agreement"]
    bias, (low, high) = agreement["bias"], agreement["limits"]
    icc, rank = _number(agreement["icc2_1"]), _number(agreement["spearman"])
    same = share_of_confusion(scores["groups"]["confusion"])
    kappa, linear = _number(agreement["kappa"]), _number(agreement["kappa_linear"])
    figures = [
        ("test scans", str(scores["cases"])),
        ("heart Dice, mean (lowest)", _mean_and_lowest(scores["heart_dice"])),
        ("heart IoU, mean (lowest)", _mean_and_lowest(scores["heart_iou"])),
        ("calcium voxels, F1 = Dice (IoU)", f"{_number(voxels['f1'])} ({_number(voxels['iou'])})"),
        ("calcium lesions, sensitivity", f"{_number(lesions['sensitivity'])} of {lesions['true']}"),
        ("calcium lesions, false a scan", _number(lesions["false_per_scan"], 2)),
        ("calcium-free scans scored 0", f"{free['scored_zero']} of {free['cases']}"),
        ("Agatston, bias (95 % limits)", f"{bias:+z.1f} ({low:z.1f} … {high:z.1f})"),
        ("Agatston, ICC(2,1) · Spearman", f"{icc} · {rank}"),
        ("risk groups, κ · linear κ", f"{kappa} · {linear}"),
        ("same risk group (95 %: at least)", f"{same.same} of {same.of} ({same.low:.0%})"),
    ]
    return [SummaryFigure(*figure) for figure in figures]


def _mean_and_lowest(summary: dict[str, Any]) -> str:
    return f"{_number(summary['mean'])} ({_number(summary['lowest'])})"


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:z.{digits}f}"


def _minutes(timings: Path) -> Sequence[tuple[str, float]]:
    """The last time of every stage; one that ran again moves to the end."""
    last: dict[str, float] = {}
    for entry in read_lines(timings, keys=("stage", "seconds")):
        stage, seconds = str(entry["stage"]), entry["seconds"]
        if isinstance(seconds, int | float):
            last.pop(stage, None)
            last[stage] = seconds / 60
    return [(stage, round(minutes, 2)) for stage, minutes in last.items()]


def print_summary(summary: ClosingSummary) -> None:
    """Print the tables."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table("on test patients", "", title="Coronet")
    for figure in summary.figures:
        table.add_row(figure.name, figure.value)
    console.print(table)
    table = Table(
        "risk group", *(f"→ {name}" for name in summary.groups), title="reference (rows), predicted"
    )
    for name, row in zip(summary.groups, summary.confusion, strict=True):
        table.add_row(name, *map(str, row))
    console.print(table)
    table = Table("stage", "minutes")
    for stage, minutes in summary.minutes:
        table.add_row(stage, f"{minutes:.2f}")
    console.print(table)
    console.print(
        "Report: build/report/index.html · runs, study and champions in MLflow: make ui · one scan: "
        "coronet score SCAN --models build --out DIR · where a champion comes from: "
        "coronet models why heart@champion"
    )
    for notice in summary.notices:
        console.print(notice, markup=False, highlight=False)
