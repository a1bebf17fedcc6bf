"""One scan's whole path: scan → heart → calcium in it → score, all on the scan's own grid."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from coronet.config.floors import SCORE_FLOORS
from coronet.dataset.quality_flags import FLAGS, NO_HEART, UNFIT, check_scan_heart, examine_scan
from coronet.errors import UnsuitableScan
from coronet.files import write_json
from coronet.io.content_hash import content_sha256
from coronet.io.reader import Scan
from coronet.io.scan_facts import ScanFacts
from coronet.io.volume import Volume, write_nifti
from coronet.networks.factory import LoadedModel
from coronet.scoring.agatston import ScoreResult, score_mask
from coronet.scoring.lesion_location import places_in_heart
from coronet.scoring.model_statement import ModelStatement, find_scores, state_models
from coronet.scoring.predicted_masks import ModelOrigin, PredictedMasks, origin_of, predict_masks
from coronet.scoring.protocol import PROTOCOLS, Protocol
from coronet.scoring.score_with_mask import SCORE, score_lines, voltage_warnings, warning_lines
from coronet.scoring.uncertainty import Intervals, score_intervals

_HEART, _CALCIUM = "heart.nii.gz", "calcium.nii.gz"


@dataclasses.dataclass(frozen=True)
class ScanScore:
    """All that was found in one scan.

    Attributes:
        ct: the scan.
        facts: what may be kept of it.
        warnings: reasons to be careful and each in words; those that are not of
            `coronet.dataset.quality_flags.FLAGS` forbid nothing.
        masks: heart and calcium.
        result: the score.
        intervals: how the score moves with threshold and position.
        places: where each lesion of ``result`` lies in the heart, in the same order.
        models: where the weights of ``heart`` and ``calcium`` come from.
        parts: in which part of each network's cases this scan was: ``train``, ``tune``, ``none``, or None
            where that is not recorded.
    """

    ct: Volume
    facts: ScanFacts
    warnings: Mapping[str, str]
    masks: PredictedMasks
    result: ScoreResult
    intervals: Intervals
    places: tuple[str, ...]
    models: Mapping[str, ModelOrigin]
    parts: Mapping[str, str | None]

    @property
    def heart_ml(self) -> float:
        """Volume of the heart mask in ml."""
        return float(np.count_nonzero(self.masks.heart)) * self.ct.voxel_mm3 / 1000

    @property
    def statement(self) -> ModelStatement:
        """What the score is worth, to be read before it."""
        return state_models(self.models, self.parts)

    @property
    def flags(self) -> tuple[str, ...]:
        """Reasons to be careful, keys of `warnings`."""
        return tuple(self.warnings)

    def lines(self, preset: str) -> list[str]:
        """The answer as text, what it is worth first, with the risk group by ``preset``."""
        scored = score_lines(self.result, self.intervals, preset)
        return [*self.statement.lines, *scored, *warning_lines(self.warnings)]

    def to_json(self) -> dict[str, Any]:
        """What ``score.json`` holds, ``models`` first: no identifier, no file name and no path."""
        answer = self.result.to_json(
            intervals=self.intervals.to_json(),
            models=self._models_json(),
            source={
                "source": self.facts.source,
                "kernel": self.facts.kernel,
                "tube_kv": self.facts.tube_kv,
                "contrast": self.facts.contrast,
                "flags": list(self.flags),
                "warnings": dict(self.warnings),
                "mask": "networks",
                "heart_ml": round(self.heart_ml, 1),
            },
        )
        for lesion, place in zip(answer["lesions"], self.places, strict=True):
            lesion["place"] = place
        return {"models": answer.pop("models"), **answer}

    def _models_json(self) -> dict[str, Any]:
        scores = find_scores(self.models)
        return {
            "statement": self.statement.text,
            "cautions": list(self.statement.cautions),
            "scores": scores.to_json(SCORE_FLOORS) if scores else None,
            **{
                name: {"scan_part": self.parts[name], **origin.to_json()}
                for name, origin in self.models.items()
            },
        }


def score_scan(
    scan: Scan,
    *,
    heart_model: LoadedModel,
    calcium_model: LoadedModel,
    protocol: Protocol = PROTOCOLS["coronet"],
    method: str = "agatston",
    calibration_factor: float | None = None,
    force: bool = False,
) -> ScanScore:
    """Score a scan.

    Args:
        scan: as `coronet.io.reader.read_scan` gives it.
        heart_model: finds the heart.
        calcium_model: finds calcium around it.
        protocol: rules of the score.
        method: which score is the answer, one of `coronet.scoring.methods.METHODS`.
        calibration_factor: mg/(mm³·HU); without it there is no mass.
        force: score even where `suitability` forbids it; the flags stay with the score.

    Raises:
        UnsuitableScan: the scan must not be scored, and why; or no heart was found in it.
        InputError: a model is of the other kind.
        ParamsError: unknown method, or mass without a calibration factor.
    """
    ct, facts = scan.volume, scan.facts
    flags, chest = examine_scan(ct, facts)
    warnings = {flag: FLAGS[flag] for flag in flags}
    # only the heart mask tells a scan without a heart from one that cuts it
    check_suitability({flag: text for flag, text in warnings.items() if flag != NO_HEART}, force=force)

    def check(heart: np.ndarray) -> None:
        nonlocal warnings
        # the network's outermost voxel is part air, so its mask may end so far before the scan does
        near_mm = heart_model.params.input.spacing_mm
        warnings = check_scan_heart(warnings, heart, ct, chest, near_mm)
        check_suitability(warnings, force=force)

    masks = predict_masks(ct, heart_model, calcium_model, check=check)
    warnings |= voltage_warnings(facts)
    result = score_mask(
        ct,
        masks.calcium,
        protocol=protocol,
        method=method,
        calibration_factor=calibration_factor,
        slice_thickness_mm=facts.slice_thickness_mm,
    )
    content = content_sha256(ct)
    return ScanScore(
        ct=ct,
        facts=facts,
        warnings=warnings,
        masks=masks,
        result=result,
        intervals=score_intervals(ct, masks.calcium, result, probability=masks.certainty),
        places=places_in_heart([lesion.centre_voxel for lesion in result.lesions], masks.heart),
        models={"heart": origin_of(heart_model), "calcium": origin_of(calcium_model)},
        parts={"heart": heart_model.spec.part_of(content), "calcium": calcium_model.spec.part_of(content)},
    )


def check_suitability(warnings: Mapping[str, str], *, force: bool = False) -> None:
    """Refuse a scan whose score would mislead.

    Args:
        warnings: flags and the reason of each in words.
        force: let it pass.

    Raises:
        UnsuitableScan: a flag forbids a score and ``force`` is not set.
    """
    reasons = [reason for flag, reason in warnings.items() if flag in UNFIT]
    if reasons and not force:
        raise UnsuitableScan(
            f"The scan must not be scored: {'; '.join(reasons)}. --force scores it all the same and says so."
        )


def write_scan_score(folder: Path, scored: ScanScore) -> None:
    """Write ``heart.nii.gz``, ``calcium.nii.gz`` and ``score.json``; other files in ``folder`` stay.

    Masks lie on the scan's own grid.
    """
    for name, mask in ((_HEART, scored.masks.heart), (_CALCIUM, scored.masks.calcium)):
        write_nifti(Path(folder) / name, scored.ct.with_array(mask))
    write_json(Path(folder) / SCORE, scored.to_json(), sort_keys=False)
