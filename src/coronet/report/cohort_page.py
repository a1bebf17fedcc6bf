"""The cohort's page: figures of the path from scan to score on test patients, and the cases that fail."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coronet.config import MODELS, Params
from coronet.dataset.cases import EXACT, GIVEN, Case, find_case
from coronet.dataset.split import PARTS, read_split
from coronet.errors import StageError
from coronet.evaluation.agreement_statistics import share_of_confusion
from coronet.evaluation.annotation_error import TABLE as DRAWN
from coronet.evaluation.annotation_error import read_annotation_error
from coronet.evaluation.case_scores import CaseScore, read_case_scores, worst_first
from coronet.files import read_json, replacing_folder, sha256_file
from coronet.report import charts
from coronet.report.annotation_error_section import AnnotationErrorSection, annotation_error_section
from coronet.report.case_views import compared_pictures
from coronet.report.certainty_section import CertaintySection, certainty_section
from coronet.report.html_page import Figure, network_facts, number, signed, write_page
from coronet.report.notices import describe_floors, describe_test_set
from coronet.report.slice_pictures import Picture
from coronet.training.learning_curves import HISTORY, read_history

_MOST_PICTURED = 16  # cases with pictures; more would make the page too heavy to open on a phone


@dataclasses.dataclass(frozen=True)
class TrainingCurve:
    """A chart with its title and a line below it."""

    title: str
    drawing: str
    note: str = ""


@dataclasses.dataclass(frozen=True)
class CaseView:
    """A case's row and its pictures."""

    row: CaseScore
    pictures: tuple[Picture, ...]


@dataclasses.dataclass(frozen=True)
class CohortReport:
    """Everything that ``cohort.html.j2`` shows."""

    compared: int
    notices: tuple[tuple[str, str], ...]
    headline: tuple[Figure, ...]
    networks: tuple[Figure, ...]
    path: tuple[Figure, ...]
    scatter: str
    bland_altman: str
    groups: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    confusion_top: int
    certainty: CertaintySection
    worst: tuple[CaseView, ...]
    without_pictures: int
    rows: tuple[CaseScore, ...]
    reference: str
    annotation_error: AnnotationErrorSection | None
    curves: tuple[TrainingCurve, ...]
    origin: tuple[tuple[str, str], ...]


def write_cohort_report(build: Path, data: Path, out: Path, params: Params) -> None:
    """Write ``index.html`` into ``out`` from the results of the stages.

    Args:
        build: results of the stages (``scores``, ``heart``, ``calcium``, ``cases.csv``, ``split.json``).

    Raises:
        StageError: a stage that the page needs has not run.
    """
    report = read_cohort_report(build, data, params)
    with replacing_folder(out) as part:
        write_page(part / "index.html", "cohort.html.j2", report=report)


def read_cohort_report(build: Path, data: Path, params: Params) -> CohortReport:
    """Gather what the page shows; see `write_cohort_report`."""
    scores = build / "scores"
    if not (scores / "metrics.json").exists():
        raise StageError(f"{scores} is absent; run `dvc repro score` first.")
    metrics = read_json(scores / "metrics.json")
    groups = tuple(metrics["groups"]["names"])
    rows = worst_first(read_case_scores(scores / "scores.csv"), groups)
    cases = {row.case: find_case(data, row.case) for row in rows}
    pictured = rows[:_MOST_PICTURED]
    agreement = metrics["agreement"]
    reference = [row.reference_agatston for row in rows]
    predicted = [row.predicted_agatston for row in rows]
    confusion = tuple(tuple(row) for row in metrics["groups"]["confusion"])
    return CohortReport(
        compared=len(rows),
        notices=_notices(build, metrics),
        headline=_headline(metrics),
        networks=_networks(*(_evaluation(build, model) for model in MODELS)),
        path=_path(metrics),
        scatter=charts.scatter_chart(reference, predicted, cuts=metrics["groups"]["bounds"]),
        bland_altman=charts.bland_altman_chart(
            reference, predicted, bias=agreement["bias"], limits=tuple(agreement["limits"])
        ),
        groups=groups,
        confusion=confusion,
        confusion_top=max(1, *map(max, confusion)),
        certainty=certainty_section(build, metrics.get("certainty")),
        worst=tuple(_view(cases[row.case], row, scores) for row in pictured),
        without_pictures=len(rows) - len(pictured),
        rows=rows,
        reference=_reference(metrics),
        annotation_error=annotation_error_section(
            read_annotation_error(scores / DRAWN), metrics["drawn_masks"], cases
        ),
        curves=tuple(curve for model in MODELS for curve in _curves(build / model / "fit", model)),
        origin=_origin(build, metrics, params),
    )


def _reference(metrics: Mapping[str, Any]) -> str:
    """What results are compared with, in words."""
    words = {EXACT: "exact masks", GIVEN: "the masks that the cohort was given"}
    return " and ".join(
        f"{words[kind]} ({count} scans)" for kind, count in sorted(metrics["reference"].items())
    )


def _notices(build: Path, metrics: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """What the figures mean, gravest first: titles and sentences."""
    floors = describe_floors(build)
    missed = (("Not good enough.", floors),) if floors else ()
    return (*missed, describe_test_set(metrics.get("sources", {})))


def _evaluation(build: Path, model: str) -> Mapping[str, Any]:
    path = build / model / "evaluation" / "metrics.json"
    if not path.exists():
        raise StageError(f"{path} is absent; run `dvc repro evaluate@{model}` first.")
    return read_json(path)


def _headline(metrics: Mapping[str, Any]) -> tuple[Figure, ...]:
    free, lesions = metrics["calcium_free"], metrics["lesions"]
    return (
        Figure("heart Dice", number(metrics["heart_dice"]["mean"], 3), _over(metrics["heart_dice"])),
        Figure("calcium voxel F1", number(metrics["calcium_voxels"]["f1"], 3), "pooled over all test scans"),
        Figure(
            "lesions found",
            f"{lesions['found']} of {lesions['true']}",
            f"{number(lesions['false_per_scan'], 2)} false ones a scan",
        ),
        Figure("linear κ of risk groups", *_kappa(metrics, "kappa_linear")),
        Figure(
            "calcium-free scans scored 0",
            f"{free['scored_zero']} of {free['cases']}",
            "no calcium in the reference",
        ),
    )


def _networks(heart: Mapping[str, Any], calcium: Mapping[str, Any]) -> tuple[Figure, ...]:
    """Each network by itself, against the masks."""
    pooled, lesions, free = calcium["pooled"], calcium["lesions"], calcium["calcium_free"]
    return (
        Figure("Heart Dice", number(heart["dice"]["mean"], 3), _over(heart["dice"])),
        Figure("Heart Dice, lowest", number(heart["dice"]["lowest"], 3), "the worst test scan"),
        Figure("Heart IoU", number(heart["iou"]["mean"], 3), _over(heart["iou"])),
        Figure("Calcium F1, voxels", number(pooled["f1"], 3), "pooled over all test scans"),
        Figure("Calcium IoU, voxels", number(pooled["iou"], 3), "pooled over all test scans"),
        Figure("Calcium Dice, by case", number(calcium["f1"]["mean"], 3), _over(calcium["f1"])),
        Figure("Lesion F1", number(lesions["f1"], 3), "26-connected lesions, matched by touch"),
        Figure("False calcium", number(free["false_mm3"]["mean"], 1), "mean of calcium-free scans", "mm³"),
    )


def _path(metrics: Mapping[str, Any]) -> tuple[Figure, ...]:
    """The path from scan to score."""
    agreement, lesions = metrics["agreement"], metrics["lesions"]
    low, high = (signed(limit) for limit in agreement["limits"])
    return (
        Figure("Lesion sensitivity", number(lesions["sensitivity"], 3), f"{lesions['true']} lesions"),
        Figure("Score, Spearman", *_with_interval(agreement, "spearman")),
        Figure("Score, ICC(2,1)", *_with_interval(agreement, "icc2_1")),
        Figure("Score, bias", signed(agreement["bias"], 1), f"95 % limits of agreement {low} to {high}"),
        Figure("Groups, concordance", number(agreement["concordance"], 3), _same_group(metrics)),
        Figure("Groups, κ", *_kappa(metrics, "kappa")),
        Figure("Groups, linear κ", *_kappa(metrics, "kappa_linear")),
        Figure("Groups, quadratic κ", *_kappa(metrics, "kappa_quadratic")),
    )


def _over(summary: Mapping[str, Any]) -> str:
    empty = f", {summary['empty']} with nothing to measure" if summary["empty"] else ""
    return f"mean of {summary['cases']} test scans{empty}"


def _with_interval(agreement: Mapping[str, Any], key: str) -> tuple[str, str]:
    interval = agreement["intervals"].get(key)
    note = f"95 % interval {number(interval[0], 3)} to {number(interval[1], 3)}" if interval else ""
    return number(agreement[key], 3), note


def _kappa(metrics: Mapping[str, Any], key: str) -> tuple[str, str]:
    """κ with its interval, or with what equal groups show where the resamples are all alike."""
    interval = metrics["agreement"]["intervals"].get(key)
    if interval and interval[0] == interval[1]:
        return number(metrics["agreement"][key], 3), _same_group(metrics)
    return _with_interval(metrics["agreement"], key)


def _same_group(metrics: Mapping[str, Any]) -> str:
    share = share_of_confusion(metrics["groups"]["confusion"])
    return f"{share.same} of {share.of} in the same group: at least {share.low:.0%} (95 %, Clopper–Pearson)"


def _view(case: Case, row: CaseScore, scores: Path) -> CaseView:
    heart, calcium = (scores / "masks" / f"{case.id}_{model}.nii.gz" for model in MODELS)
    return CaseView(row, compared_pictures(case, heart=heart, calcium=calcium))


def _curves(fit: Path, model: str) -> tuple[TrainingCurve, ...]:
    if not (fit / HISTORY).exists():
        raise StageError(f"{fit} holds no training; run `dvc repro train@{model}` first.")
    history = read_history(fit / HISTORY)
    outcome = read_json(fit / "metrics.json")
    metric, best = outcome["metric"], outcome["best_epoch"]
    epochs = [entry["epoch"] for entry in history]
    loss = charts.curve_chart(
        {"loss": (epochs, [entry["loss"] for entry in history])}, ylabel="training loss"
    )
    tuned = charts.curve_chart(
        {metric: (epochs, [entry[metric] for entry in history])},
        ylabel=f"{metric} on tuning patients",
        mark_x=best,
    )
    reached = number(outcome[f"tune_{metric}"], 3)
    return (
        TrainingCurve(f"{model.capitalize()}: loss", loss, f"{len(epochs)} epochs"),
        TrainingCurve(
            f"{model.capitalize()}: {metric}", tuned, f"{reached} after epoch {best}, whose weights were kept"
        ),
    )


def _origin(build: Path, metrics: Mapping[str, Any], params: Params) -> tuple[tuple[str, str], ...]:
    rows = [("Profile", params.profile), ("Scoring protocol", metrics["protocol"])]
    split = read_split(build / "split.json")
    parts = ", ".join(f"{len(split.patients(part))} {part}" for part in PARTS)
    rows.append(("Patients", f"{parts}; no patient is in two parts"))
    for model in MODELS:
        spec = read_json(build / model / "fit" / "model.json")
        encoder = spec["params"]["network"]["encoder"]
        rows += network_facts(model, encoder, spec["cases"], spec["fingerprint"], spec["weights_sha256"])
    rows += [
        ("Case table, sha256", sha256_file(build / "cases.csv")),
        ("Split, sha256", sha256_file(build / "split.json")),
    ]
    return tuple(rows)
