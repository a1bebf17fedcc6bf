"""Heart and calcium of one scan, found by networks on the scan's own grid."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from coronet.config.floors import SCORE_FLOORS
from coronet.dataset.quality_flags import (
    FLAGS,
    NO_HEART,
    UNFAMILIAR,
    UNFIT,
    check_scan_heart,
    examine_scan,
)
from coronet.errors import UnsuitableScan
from coronet.files import write_json
from coronet.io.content_hash import content_sha256
from coronet.io.reader import Scan
from coronet.io.volume import Volume, write_nifti
from coronet.networks.factory import LoadedModel
from coronet.scoring.model_statement import ModelStatement, find_scores, state_models
from coronet.scoring.predicted_masks import ModelOrigin, PredictedMasks, origin_of, predict_masks

_HEART, _CALCIUM, _SEGMENTATION = "heart.nii.gz", "calcium.nii.gz", "segmentation.json"


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """Heart and calcium of one scan, as the networks found them.

    Attributes:
        ct: the scan.
        warnings: reasons to be careful: a short key and a sentence without a full stop for each.
        masks: heart and calcium, on the scan's grid.
        models: where the weights of ``heart`` and ``calcium`` come from.
        parts: in which part of each network's cases this scan was: ``train``, ``tune``, ``none``, or None
            where that is not recorded.
        distance: how far the scan lies off those that the heart network learned from; None where the network
            does not tell.
        limit: the largest distance with which a scan is scored; None where the network does not tell.
    """

    ct: Volume
    warnings: Mapping[str, str]
    masks: PredictedMasks
    models: Mapping[str, ModelOrigin]
    parts: Mapping[str, str | None]
    distance: float | None = None
    limit: float | None = None

    @property
    def heart(self) -> Volume:
        """The heart mask: uint8, 1 inside."""
        return self.ct.with_array(self.masks.heart.astype(np.uint8))

    @property
    def calcium(self) -> Volume:
        """The calcium mask: uint8, 1 inside."""
        return self.ct.with_array(self.masks.calcium.astype(np.uint8))

    @property
    def heart_ml(self) -> float:
        """Volume of the heart mask in ml."""
        return float(np.count_nonzero(self.masks.heart)) * self.ct.voxel_mm3 / 1000

    @property
    def calcium_mm3(self) -> float:
        """Volume of the calcium mask in mm³."""
        return float(np.count_nonzero(self.masks.calcium)) * self.ct.voxel_mm3

    @property
    def statement(self) -> ModelStatement:
        """What the networks are worth, to be read before their result."""
        return state_models(self.models, self.parts)

    def models_json(self) -> dict[str, Any]:
        """The statement and the origin of both networks as plain values."""
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

    def familiarity_json(self) -> dict[str, float] | None:
        """Distance and limit as plain values; None where the heart network does not tell."""
        if self.distance is None or self.limit is None:
            return None
        return {"distance": round(self.distance, 2), "limit": round(self.limit, 2)}

    def to_json(self) -> dict[str, Any]:
        """What ``segmentation.json`` holds: no identifier, no file name and no path."""
        return {
            "models": self.models_json(),
            "heart_ml": round(self.heart_ml, 1),
            "calcium_mm3": round(self.calcium_mm3, 1),
            "warnings": dict(self.warnings),
            "familiarity": self.familiarity_json(),
            "shape": list(self.ct.shape),
            "spacing_mm": list(self.ct.spacing_mm),
        }

    def save_masks(self, folder: Path | str) -> None:
        """Write ``heart.nii.gz`` and ``calcium.nii.gz`` on the scan's own grid."""
        for name, mask in ((_HEART, self.masks.heart), (_CALCIUM, self.masks.calcium)):
            write_nifti(Path(folder) / name, self.ct.with_array(mask))

    def save(self, folder: Path | str) -> Path:
        """Write both masks and ``segmentation.json``, and return the latter's path."""
        self.save_masks(folder)
        path = Path(folder) / _SEGMENTATION
        write_json(path, self.to_json(), sort_keys=False)
        return path


def segment_scan(
    scan: Scan, *, heart_model: LoadedModel, calcium_model: LoadedModel, force: bool = False
) -> Segmentation:
    """Find heart and calcium in a scan.

    Args:
        scan: as `coronet.io.reader.read_scan` gives it.
        heart_model: finds the heart.
        calcium_model: finds calcium around it.
        force: go on even where the scan's quality forbids a score; the warnings stay with the result.

    Raises:
        UnsuitableScan: the scan must not be scored, and why; or no heart was found in it.
        InputError: a model is of the other kind.
    """
    ct = scan.volume
    flags, chest = examine_scan(ct, scan.facts)
    warnings = {flag: FLAGS[flag] for flag in flags}
    # only the heart mask tells a scan without a heart from one that cuts it
    check_suitability({flag: text for flag, text in warnings.items() if flag != NO_HEART}, force=force)

    distribution, found_distance = heart_model.distribution, None

    def check(heart: np.ndarray, distance: float | None) -> None:
        nonlocal warnings, found_distance
        found_distance = distance
        # the network's outermost voxel is part air, so its mask may end so far before the scan does
        near_mm = heart_model.params.input.spacing_mm
        warnings = check_scan_heart(warnings, heart, ct, chest, near_mm)
        far = distribution is not None and distance is not None and distance > distribution.limit
        # a heart that is cut or no heart's is the nearer reason
        if far and not any(flag in UNFIT for flag in warnings):
            warnings = {**warnings, UNFAMILIAR: FLAGS[UNFAMILIAR]}
        check_suitability(warnings, force=force)

    masks = predict_masks(ct, heart_model, calcium_model, check=check)
    content = content_sha256(ct)
    return Segmentation(
        ct=ct,
        warnings=warnings,
        masks=masks,
        models={"heart": origin_of(heart_model), "calcium": origin_of(calcium_model)},
        distance=found_distance,
        limit=distribution.limit if distribution else None,
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
