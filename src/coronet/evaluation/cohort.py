"""Scores of the test patients: the whole path from scan to score, against the score of the case's mask."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from coronet.config import Params
from coronet.dataset.cases import Case, Reference, find_case, find_reference, load_mask
from coronet.errors import InputError, UnsuitableScan
from coronet.evaluation.agreement import LEAST_PAIRS, Statistics, score_agreement
from coronet.evaluation.annotation_error import TABLE as DRAWN_TABLE
from coronet.evaluation.annotation_error import (
    AnnotationError,
    measure_annotation_error,
    summarise_annotation_error,
)
from coronet.evaluation.candidate_outcomes import CandidateOutcomes, candidate_outcomes
from coronet.evaluation.case_scores import CaseScore
from coronet.evaluation.certainty import summarise_certainty
from coronet.evaluation.predicted_hearts import MASKS, earlier_heart, heart_masks_by
from coronet.evaluation.tables import count_values, write_rows
from coronet.files import replacing_folder, write_json
from coronet.imaging.mask_metrics import LesionMatch, Overlap, match_lesions, overlap, summarise_metrics
from coronet.inference.devices import pick_device
from coronet.io.volume import read_nifti, write_nifti
from coronet.networks.factory import LoadedModel, load_model
from coronet.scoring.calcium_score import score_calcium
from coronet.scoring.predicted_masks import predict_masks
from coronet.scoring.protocol import find_protocol
from coronet.scoring.risk_groups import find_groups
from coronet.scoring.uncertainty import score_uncertainty

if TYPE_CHECKING:
    from coronet.dataset.split import Split

logger = logging.getLogger("coronet")

_TABLE, METRICS = "scores.csv", "metrics.json"


def score_cohort(
    data: Path,
    split: Split,
    *,
    heart_fit: Path,
    calcium_fit: Path,
    out: Path,
    params: Params,
    with_drawn: bool = True,
    earlier: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    on_seconds: Callable[[float], None] | None = None,
) -> tuple[CaseScore, ...]:
    """Take every test scan from voxels to score and compare with the score of its mask.

    Args:
        data: the cohort's folder.
        split: names the test patients.
        heart_fit: folder of the heart model.
        calcium_fit: folder of the calcium model.
        out: folder that is replaced: ``scores.csv``, ``metrics.json``, ``masks/`` with what was found and,
            where exact masks are known, ``drawn.csv`` on what the drawn ones cost.
        params: protocol and risk groups.
        with_drawn: compare the drawn masks with exact ones too, which tells nothing of the models.
        earlier: results of `coronet.evaluation.segmentation.evaluate_model` of the heart; its masks are used
            where the same weights predicted them.
        progress: called with (cases done, cases in all).
        on_seconds: called with each scan's seconds from disk to score and masks on disk, references aside.

    Returns:
        One row a case, sorted by id. Cases without a calcium mask are left out; ``metrics.json`` names them.

    Raises:
        InputError: no test case has a calcium mask.
    """
    device = pick_device()
    models = tuple(load_model(folder, device=device) for folder in (heart_fit, calcium_fit))
    hearts = heart_masks_by(models[0], earlier)
    names = sorted(split.cases("test"))
    found, skipped = [], []
    with replacing_folder(out) as part:
        for done, name in enumerate(names, start=1):
            case = find_case(data, name)
            reference = find_reference(case, "calcium")
            if reference is None:
                skipped.append(name)
                logger.info("%s: not scored, since it has no calcium mask to compare with", name)
            else:
                found.append(
                    _score_case(
                        case, reference, models, params, part / MASKS, hearts=hearts, with_drawn=with_drawn
                    )
                )
                if on_seconds:
                    on_seconds(found[-1].seconds)
            if progress:
                progress(done, len(names))
        if not found:
            raise InputError("No test case has a calcium mask, so there is nothing to compare scores with.")
        rows = tuple(result.row for result in found)
        write_rows(part / _TABLE, rows)
        weights = {model.spec.model: model.sha256 for model in models}
        certainty = summarise_certainty(rows, [result.outcomes for result in found], models[1].calibration)
        write_json(
            part / METRICS,
            _metrics(found, skipped, params) | {"certainty": certainty, "weights_sha256": weights},
        )
        if drawn := [result.drawn for result in found if result.drawn]:
            write_rows(part / DRAWN_TABLE, drawn)
    return rows


@dataclasses.dataclass(frozen=True)
class _Result:
    """A case's row, how long its scan took to score, and the counts that are pooled over cases."""

    row: CaseScore
    seconds: float
    heart: Overlap | None
    voxels: Overlap
    lesions: LesionMatch
    drawn: AnnotationError | None
    outcomes: CandidateOutcomes | None  # None where no heart was found


def _score_case(
    case: Case,
    compared: Reference,
    models: Sequence[LoadedModel],
    params: Params,
    folder: Path,
    *,
    hearts: Path | None,
    with_drawn: bool,
) -> _Result:
    protocol, groups = find_protocol(params.score.protocol), find_groups(params.score.groups)
    started = time.perf_counter()
    ct = read_nifti(case.ct)
    masks = None
    try:
        masks = predict_masks(ct, *models, heart=earlier_heart(hearts, case.id, ct))
        heart, calcium = masks.heart, masks.calcium
    except UnsuitableScan:
        # A heart that is not found is a failure of the path, and counts as a score of 0.
        logger.info("%s: no heart was found, so no calcium is", case.id)
        heart = calcium = np.zeros(ct.shape, dtype=bool)
    for model, mask in (("heart", heart), ("calcium", calcium)):
        write_nifti(folder / f"{case.id}_{model}.nii.gz", ct.with_array(mask.astype(np.uint8)))
    scored = score_calcium(ct, calcium, protocol=protocol)
    predicted, calibration = scored.scores, models[1].calibration
    sure = (
        score_uncertainty(ct, masks.candidates, calibration, scored)
        if masks is not None and calibration is not None
        else None
    )
    seconds = time.perf_counter() - started
    truth = load_mask(compared.path, ct)
    reference = score_calcium(ct, truth, protocol=protocol).scores
    heart_reference = find_reference(case, "heart")
    heart_overlap = overlap(load_mask(heart_reference.path, ct) > 0, heart) if heart_reference else None
    voxels, lesions = overlap(truth, calcium), match_lesions(truth, calcium)
    row = CaseScore(
        case=case.id,
        source=case.facts.source,
        predicted_agatston=round(predicted.agatston, 3),
        reference_agatston=round(reference.agatston, 3),
        predicted_volume_mm3=round(predicted.volume_mm3, 3),
        reference_volume_mm3=round(reference.volume_mm3, 3),
        predicted_group=groups.label(predicted.agatston),
        reference_group=groups.label(reference.agatston),
        heart_dice=None if heart_overlap is None else heart_overlap.dice,
        calcium_dice=voxels.dice,
        lesions=lesions.true,
        lesions_found=lesions.found,
        lesions_false=lesions.false,
        low=None if sure is None else round(sure.low, 3),
        high=None if sure is None else round(sure.high, 3),
        likely_groups="" if sure is None else " ".join(sure.likely[groups.name]),
        reference=compared.kind,
    )
    outcomes = None if masks is None else candidate_outcomes(ct, masks.candidates, truth, protocol)
    drawn_case = measure_annotation_error(case, ct, protocol, groups) if with_drawn else None
    return _Result(row, seconds, heart_overlap, voxels, lesions, drawn_case, outcomes)


def _metrics(found: Sequence[_Result], skipped: Sequence[str], params: Params) -> dict[str, Any]:
    rows = [result.row for result in found]
    groups = find_groups(params.score.groups)
    voxels = sum((result.voxels for result in found), Overlap(0, 0, 0))
    lesions = sum((result.lesions for result in found), LesionMatch(0, 0, 0, 0))
    free = [row for row in rows if row.reference_agatston == 0]
    zero = sum(row.predicted_agatston == 0 for row in free)
    return {
        "cases": len(rows),
        "skipped": list(skipped),
        "reference": count_values(row.reference for row in rows),
        "sources": count_values(row.source for row in rows),
        "drawn_masks": summarise_annotation_error([result.drawn for result in found if result.drawn]),
        "protocol": params.score.protocol,
        "groups": {
            "preset": groups.name,
            "names": list(groups.labels),
            "bounds": list(groups.bounds),
            "confusion": _confusion(rows, groups.labels),
        },
        "agreement": _agreement(rows, params.score.groups),
        "score_error": float(np.mean([abs(row.predicted_agatston - row.reference_agatston) for row in rows])),
        "calcium_free": {
            "cases": len(free),
            "scored_zero": zero,
            "share": zero / len(free) if free else None,
        },
        "heart_dice": dataclasses.asdict(summarise_metrics(row.heart_dice for row in rows)),
        "heart_iou": dataclasses.asdict(summarise_metrics(item.heart.iou for item in found if item.heart)),
        "calcium_voxels": {"f1": voxels.f1, "iou": voxels.iou},
        "calcium_dice": dataclasses.asdict(summarise_metrics(row.calcium_dice for row in rows)),
        "lesions": dataclasses.asdict(lesions)
        | {"sensitivity": lesions.sensitivity, "false_per_scan": lesions.false / len(rows)},
    }


def _agreement(rows: Sequence[CaseScore], groups: str) -> dict[str, Any]:
    """Statistics with their intervals; of too few cases only bias and limits are known."""
    reference = np.array([row.reference_agatston for row in rows])
    predicted = np.array([row.predicted_agatston for row in rows])
    if len(rows) < LEAST_PAIRS:
        differences = predicted - reference
        bias, spread = float(differences.mean()), 1.96 * float(differences.std())
        nothing = dict.fromkeys(field.name for field in dataclasses.fields(Statistics))
        return nothing | {"bias": bias, "limits": [bias - spread, bias + spread], "intervals": {}}
    found = score_agreement(reference, predicted, groups=groups).to_json()
    # Reference groups are the rows of this file's matrix; that of the agreement lies the other way.
    del found["confusion"]
    return found


def _confusion(rows: Sequence[CaseScore], labels: Sequence[str]) -> list[list[int]]:
    """Counts by reference group (rows) and predicted group (columns)."""
    pairs = [(row.reference_group, row.predicted_group) for row in rows]
    return [[pairs.count((reference, predicted)) for predicted in labels] for reference in labels]
