"""What a model does on the test patients, measured anew by the code of the stages evaluate and score."""

from __future__ import annotations

import dataclasses
import math
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coronet.config import Params
from coronet.evaluation.case_scores import CaseScore
from coronet.evaluation.cohort import METRICS, score_cohort
from coronet.evaluation.segmentation import evaluate_model
from coronet.files import read_json
from coronet.networks.factory import WEIGHTS
from coronet.networks.quality import (
    Evaluation,
    ScoreEvaluation,
    evaluation_of,
    network_figures,
    score_evaluation_of,
    score_figures,
)

if TYPE_CHECKING:
    from coronet.dataset.split import Split

DICE, FALSE_MM3, SCORE = "dice", "false_mm3", "score"
"""Figures that are compared patient by patient; see `CandidateEvaluation.patients`."""


@dataclasses.dataclass(frozen=True)
class CandidateEvaluation:
    """What was measured of one model."""

    # by name as in `params.yaml` under `gate`; None where the test patients cannot answer it
    figures: Mapping[str, float | None]
    # of each compared figure, the value by patient, a mean over the patient's scans; a patient goes by the
    # name of the first test case. `dice` is of patients whose mask holds something; `false_mm3` (mm³) of
    # scans without calcium; `score` is the absolute error of log(1 + Agatston score) of all.
    patients: Mapping[str, Mapping[str, float]]
    cases: int  # how many scans were measured
    evaluation: Evaluation | None = None  # the network by itself, as a version carries it
    scores: ScoreEvaluation | None = None  # with its companion, from scan to score


def evaluate_candidate(
    model: str,
    data: Path,
    split: Split,
    *,
    fits: Mapping[str, Path],
    params: Params,
) -> CandidateEvaluation:
    """Measure ``model`` on the test patients, alone and in the whole path with the other of ``fits``."""
    import pandas

    with tempfile.TemporaryDirectory(prefix="coronet-gate-") as name:
        folder = Path(name)
        # first, since it is timed as a whole
        seconds: list[float] = []
        scores = score_cohort(
            data,
            split,
            heart_fit=fits["heart"],
            calcium_fit=fits["calcium"],
            out=folder / "scores",
            params=params,
            with_drawn=False,
            on_seconds=seconds.append,
        )
        metrics = evaluate_model(
            model, data, split, fits[model], folder / "evaluation", earlier=folder / "scores"
        )
        table = folder / "evaluation" / "cases.csv"
        cases = pandas.read_csv(table, dtype={"case": str}, float_precision="round_trip").to_dict("records")
        together = read_json(folder / "scores" / METRICS)
    costs = {
        "seconds": statistics.median(seconds),
        "megabytes": (fits[model] / WEIGHTS).stat().st_size / 1e6,
    }
    return CandidateEvaluation(
        figures=network_figures(model, metrics) | score_figures(together) | costs,
        patients=_by_patient(model, cases, scores, _name_patients(split)),
        cases=len(cases),
        evaluation=evaluation_of(model, metrics),
        scores=score_evaluation_of(together),
    )


def _name_patients(split: Split) -> dict[str, str]:
    """By test case the first test case of its patient: a name without identity."""
    first: dict[str, str] = {}
    tested = [member for member in split.members if member.part == "test"]
    return {member.case: first.setdefault(member.patient, member.case) for member in tested}


def _by_patient(
    model: str,
    cases: Iterable[Mapping[Any, Any]],
    scores: Iterable[CaseScore],
    patient_of: Mapping[str, str],
) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, list[float]]] = {DICE: defaultdict(list), SCORE: defaultdict(list)}
    if model == "calcium":
        found[FALSE_MM3] = defaultdict(list)
    for case in cases:
        patient = patient_of[case["case"]]
        if case["true_mm3"] > 0:
            found[DICE][patient].append(case["dice"])
        elif model == "calcium":
            found[FALSE_MM3][patient].append(case["predicted_mm3"])
    for score in scores:
        error = abs(math.log1p(score.predicted_agatston) - math.log1p(score.reference_agatston))
        found[SCORE][patient_of[score.case]].append(error)
    return {
        figure: {patient: statistics.fmean(values) for patient, values in sorted(of.items())}
        for figure, of in found.items()
    }
