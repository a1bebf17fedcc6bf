"""One scan's whole path: scan → heart → calcium in it → score, all on the scan's own grid."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from coronet.cohort.cases import ScanFacts
from coronet.cohort.reader import Scan
from coronet.cohort.suitability import FLAGS, UNFIT, suitability
from coronet.cohort.volume import Volume, write_nifti
from coronet.config import Params
from coronet.errors import UnsuitableScan
from coronet.files import write_json
from coronet.networks.builder import LoadedModel
from coronet.score.agatston import ScoreResult, score_mask
from coronet.score.intervals import Intervals, score_intervals
from coronet.score.masks import Masks, ModelOrigin, find_masks, origin_of
from coronet.score.place import place_in_heart
from coronet.score.protocol import find_protocol

HEART_SIZE = "heart_size"
HEART_CUT = "heart_cut"
MEANING = FLAGS | {
    HEART_SIZE: "the heart that was found has no plausible size",
    HEART_CUT: "the heart that was found reaches the first or the last slice, so part of it may be missing",
}
"""Every flag in words; the last ones are seen only once the heart was looked for, and forbid nothing."""

HEART, CALCIUM, SCORE = "heart.nii.gz", "calcium.nii.gz", "score.json"


@dataclasses.dataclass(frozen=True)
class ScanScore:
    """All that was found in one scan.

    Attributes:
        ct: the scan.
        facts: what may be kept of it.
        flags: reasons to be careful, keys of `MEANING`.
        masks: heart and calcium.
        result: the score.
        intervals: how the score moves with threshold and position.
        places: where each lesion of ``result`` lies in the heart, in the same order.
        models: where the weights of ``heart`` and ``calcium`` come from.
    """

    ct: Volume
    facts: ScanFacts
    flags: tuple[str, ...]
    masks: Masks
    result: ScoreResult
    intervals: Intervals
    places: tuple[str, ...]
    models: Mapping[str, ModelOrigin]

    @property
    def heart_ml(self) -> float:
        """Volume of the heart mask in ml."""
        return float(np.count_nonzero(self.masks.heart)) * self.ct.voxel_mm3 / 1000

    @property
    def statement(self) -> str:
        """What the training data mean for this score; empty where the networks learned from real scans."""
        learned = {origin.trained_on for origin in self.models.values()}
        if "phantom" in learned:
            return (
                "The networks learned from synthetic phantoms. "
                "This score must not be believed on patients; it shows that the path works."
            )
        if "unknown" in learned:
            return "It is not recorded what the networks learned from. This score must not be believed."
        return ""

    @property
    def warnings(self) -> dict[str, str]:
        """Flags in words."""
        return {flag: MEANING[flag] for flag in self.flags}

    def to_json(self) -> dict[str, Any]:
        """What ``score.json`` holds: no identifier, no file name and no path."""
        answer = self.result.to_json(
            intervals=self.intervals.to_json(),
            models={name: origin.to_json() for name, origin in self.models.items()}
            | {"statement": self.statement},
            source={
                "format": self.facts.source,
                "kernel": self.facts.kernel,
                "tube_kv": self.facts.tube_kv,
                "contrast": self.facts.contrast,
                "warnings": self.warnings,
                "heart_ml": round(self.heart_ml, 1),
            },
        )
        for lesion, place in zip(answer["lesions"], self.places, strict=True):
            lesion["place"] = place
        return answer


def score_scan(
    scan: Scan, *, heart_model: LoadedModel, calcium_model: LoadedModel, params: Params, force: bool = False
) -> ScanScore:
    """Score a scan.

    Args:
        scan: as `coronet.cohort.reader.read_scan` gives it.
        heart_model: finds the heart.
        calcium_model: finds calcium around it.
        params: protocol of the score, and how large hearts are.
        force: score even where `suitability` forbids it; the flags stay with the score.

    Raises:
        UnsuitableScan: the scan must not be scored, and why; or no heart was found in it.
    """
    ct, facts = scan.volume, scan.facts
    flags = suitability(ct, facts)
    check_suitable(flags, force=force)
    masks = find_masks(ct, heart_model, calcium_model)
    result = score_mask(
        ct,
        masks.calcium,
        protocol=find_protocol(params.score.protocol),
        slice_thickness_mm=facts.slice_thickness_mm,
    )
    scored = ScanScore(
        ct=ct,
        facts=facts,
        flags=flags,
        masks=masks,
        result=result,
        intervals=score_intervals(ct, masks.calcium, result, probability=masks.certainty),
        places=tuple(place_in_heart(lesion.centre_voxel, masks.heart) for lesion in result.lesions),
        models={"heart": origin_of(heart_model), "calcium": origin_of(calcium_model)},
    )
    return dataclasses.replace(scored, flags=flags + _heart_flags(scored, params.validate.heart_ml))


def check_suitable(flags: tuple[str, ...], *, force: bool = False) -> None:
    """Refuse a scan whose score would mislead.

    Raises:
        UnsuitableScan: a flag forbids it and ``force`` is not set.
    """
    reasons = [FLAGS[flag] for flag in flags if flag in UNFIT]
    if reasons and not force:
        raise UnsuitableScan(
            f"The scan must not be scored: {'; '.join(reasons)}. --force scores it all the same and says so."
        )


def _heart_flags(scored: ScanScore, plausible_ml: tuple[float, float]) -> tuple[str, ...]:
    flags = []
    if not plausible_ml[0] <= scored.heart_ml <= plausible_ml[1]:
        flags.append(HEART_SIZE)
    if scored.masks.heart[:, :, [0, -1]].any():
        flags.append(HEART_CUT)
    return tuple(flags)


def write_scan_score(folder: Path, scored: ScanScore) -> None:
    """Write ``heart.nii.gz``, ``calcium.nii.gz`` and ``score.json``; other files in ``folder`` stay.

    Masks lie on the scan's own grid.
    """
    for name, mask in ((HEART, scored.masks.heart), (CALCIUM, scored.masks.calcium)):
        write_nifti(Path(folder) / name, scored.ct.with_array(mask.astype(np.uint8)))
    write_json(Path(folder) / SCORE, scored.to_json())
