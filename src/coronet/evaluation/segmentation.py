"""How good a model is on the test patients, on each scan's own grid."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from coronet import files
from coronet.dataset.cases import Case, Reference, find_case, find_reference, load_mask
from coronet.errors import InputError
from coronet.evaluation.predicted_hearts import MASKS, earlier_heart, heart_masks_by, heart_path
from coronet.evaluation.tables import count_values, write_rows
from coronet.imaging.cropping import cut_short
from coronet.imaging.mask_metrics import LesionMatch, Overlap, match_lesions, overlap, summarise_metrics
from coronet.inference.devices import pick_device
from coronet.inference.predict import calcium_above_threshold, largest_heart, predict_calcium, predict_heart
from coronet.io.volume import Volume, read_nifti, write_nifti
from coronet.networks.factory import LoadedModel, load_model

if TYPE_CHECKING:
    from coronet.dataset.split import Split

logger = logging.getLogger("coronet")
_FIELD_MM, _MARGIN_MM = 220.0, 10.0
"""Field of view of the short scans that hearts are evaluated in too, and the margin above and below."""


@dataclasses.dataclass(frozen=True)
class CaseResult:
    """One case: what is counted, and the volumes in mm³.

    ``reference`` is the kind of the mask compared with; ``lesions`` is None for hearts, and ``short_dice``,
    the Dice in the scan cut to `_FIELD_MM` and `_MARGIN_MM`, for calcium.
    """

    case: str
    voxels: Overlap
    true_mm3: float
    predicted_mm3: float
    reference: str
    source: str
    lesions: LesionMatch | None = None
    short_dice: float | None = None

    def row(self) -> dict[str, Any]:
        """Flat values for a table."""
        row = {
            "case": self.case,
            **{name: getattr(self.voxels, name) for name in ("dice", "iou", "precision", "sensitivity")},
            "true_mm3": round(self.true_mm3, 3),
            "predicted_mm3": round(self.predicted_mm3, 3),
            "reference": self.reference,
        }
        if self.short_dice is not None:
            row["short_scan_dice"] = self.short_dice
        if self.lesions is not None:
            row |= {f"lesions_{key}": value for key, value in dataclasses.asdict(self.lesions).items()}
        return row


def evaluate_model(
    model: str,
    data: Path,
    split: Split,
    fit_folder: Path,
    out: Path,
    *,
    earlier: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Mapping[str, Any]:
    """Predict every test case, calcium inside the true heart, and compare with the masks on its own grid.

    Args:
        model: ``heart`` or ``calcium``.
        data: the cohort's folder.
        split: names the test cases.
        fit_folder: what `coronet.training.fit.fit_model` wrote.
        out: folder of ``metrics.json``, ``cases.csv`` and, of hearts, ``masks/``; replaced as a whole.
        earlier: for hearts: results of `coronet.evaluation.cohort.score_cohort`; its masks are used where
            the same weights predicted them.
        progress: called with (cases done, cases in all).

    Returns:
        What ``metrics.json`` holds.

    Raises:
        InputError: no test case has the masks needed.
    """
    device = pick_device()
    network = load_model(fit_folder, device=device)
    names = sorted(split.cases("test"))
    results, skipped = [], []
    with files.replacing_folder(out) as folder:
        evaluate = (
            functools.partial(_evaluate_heart, hearts=heart_masks_by(network, earlier), out=folder / MASKS)
            if model == "heart"
            else _evaluate_calcium
        )
        for number, name in enumerate(names, start=1):
            case = find_case(data, name)
            result = evaluate(case, network)
            if result is None:
                skipped.append(name)
                logger.info("%s: not evaluated, since a mask is absent", name)
            else:
                results.append(result)
            if progress:
                progress(number, len(names))
        if not results:
            raise InputError(f"No test case has the masks that evaluating the {model} model needs.")
        metrics = _heart_metrics(results) if model == "heart" else _calcium_metrics(results)
        metrics |= {"part": "test", "cases": len(results), "skipped": skipped}
        metrics["reference"] = count_values(result.reference for result in results)
        metrics["sources"] = count_values(result.source for result in results)
        metrics["weights_sha256"] = {model: network.sha256}
        if model == "calcium":
            metrics["heart"] = "true"
        files.write_json(folder / "metrics.json", metrics)
        write_rows(folder / "cases.csv", [result.row() for result in results])
    return metrics


def _evaluate_heart(case: Case, network: LoadedModel, *, hearts: Path | None, out: Path) -> CaseResult | None:
    reference = find_reference(case, "heart")
    if reference is None:
        return None
    ct = read_nifti(case.ct)
    truth = load_mask(reference.path, ct)
    predicted = earlier_heart(hearts, case.id, ct)
    if predicted is None:
        predicted = _heart(ct, network)
    write_nifti(heart_path(out, case.id), ct.with_array(predicted.astype(np.uint8)))
    result = _compare(case, truth, predicted, ct, reference)
    if not truth.any():
        return result
    short, inside = cut_short(ct, truth > 0, field_mm=_FIELD_MM, margin_mm=_MARGIN_MM)
    return dataclasses.replace(result, short_dice=overlap(inside, _heart(short, network)).dice)


def _evaluate_calcium(case: Case, network: LoadedModel) -> CaseResult | None:
    reference, inside = find_reference(case, "calcium"), find_reference(case, "heart")
    if reference is None or inside is None:
        return None
    ct = read_nifti(case.ct)
    truth, heart = load_mask(reference.path, ct), load_mask(inside.path, ct) > 0
    if heart.any():
        probability = predict_calcium(ct, heart, network)
        predicted = calcium_above_threshold(probability, ct, network.params.threshold)
    else:
        logger.info("%s: its heart mask is empty, so no calcium is looked for", case.id)
        predicted = np.zeros(ct.shape, bool)
    result = _compare(case, truth, predicted, ct, reference)
    return dataclasses.replace(result, lesions=match_lesions(truth, predicted))


def _heart(ct: Volume, network: LoadedModel) -> np.ndarray:
    return largest_heart(predict_heart(ct, network), ct, network.params.threshold)


def _compare(
    case: Case, truth: np.ndarray, predicted: np.ndarray, ct: Volume, reference: Reference
) -> CaseResult:
    counts = overlap(truth, predicted)
    return CaseResult(
        case=case.id,
        voxels=counts,
        true_mm3=(counts.both + counts.true_only) * ct.voxel_mm3,
        predicted_mm3=(counts.both + counts.predicted_only) * ct.voxel_mm3,
        reference=reference.kind,
        source=case.facts.source,
    )


def _summary(values: Iterable[float | None]) -> dict[str, Any]:
    return dataclasses.asdict(summarise_metrics(values))


def _heart_metrics(results: list[CaseResult]) -> dict[str, Any]:
    bias = [result.predicted_mm3 - result.true_mm3 for result in results]
    return {
        "dice": _summary(result.voxels.dice for result in results),
        "iou": _summary(result.voxels.iou for result in results),
        "volume_bias_ml": float(np.mean(bias)) / 1000,
        "volume_error_ml": float(np.mean(np.abs(bias))) / 1000,
        "short_scan": {
            "field_mm": _FIELD_MM,
            "margin_mm": _MARGIN_MM,
            "dice": _summary(result.short_dice for result in results),
        },
    }


def _calcium_metrics(results: list[CaseResult]) -> dict[str, Any]:
    pooled = sum((result.voxels for result in results), Overlap(0, 0, 0))
    lesions = sum((result.lesions for result in results if result.lesions), LesionMatch(0, 0, 0, 0))
    free = [result for result in results if not result.true_mm3]
    return {
        "pooled": {name: getattr(pooled, name) for name in ("f1", "iou", "precision", "sensitivity")},
        "f1": _summary(result.voxels.f1 for result in results),
        "iou": _summary(result.voxels.iou for result in results),
        "lesions": {
            **dataclasses.asdict(lesions),
            "sensitivity": lesions.sensitivity,
            "f1": lesions.f1,
            "false_per_scan": lesions.false / len(results),
        },
        "calcium_free": {
            "cases": len(free),
            "answered_empty": sum(not result.predicted_mm3 for result in free),
            "false_mm3": _summary(result.predicted_mm3 for result in free),
        },
    }
