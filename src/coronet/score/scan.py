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
from coronet.errors import UnsuitableScan
from coronet.files import write_json
from coronet.networks.builder import LoadedModel
from coronet.score.agatston import ScoreResult, score_mask
from coronet.score.expert import USUAL_KV, score_lines
from coronet.score.intervals import Intervals, score_intervals
from coronet.score.masks import Masks, ModelOrigin, find_masks, origin_of
from coronet.score.place import places_in_heart
from coronet.score.protocol import PROTOCOLS, Protocol

HEART_SIZE = "heart_size"
HEART_CUT = "heart_cut"
TUBE_VOLTAGE = "tube_voltage"
MEANING = FLAGS | {
    HEART_SIZE: "the heart that was found has no plausible size",
    HEART_CUT: "the heart that was found reaches the first or the last slice, so part of it may be missing",
    TUBE_VOLTAGE: f"the scan was not made at {USUAL_KV:g} kV, for which 130 HU and the weights hold",
}
"""Every flag in words; those that are not of `coronet.cohort.suitability` forbid nothing."""
PLAUSIBLE_HEART_ML = (250.0, 1600.0)

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

    def lines(self, preset: str) -> list[str]:
        """The answer as text, with the risk group by ``preset``."""
        spoken = [f"Beware: {text}." for text in self.warnings.values()]
        return [*score_lines(self.result, self.intervals, preset), *spoken, *filter(None, [self.statement])]

    def to_json(self) -> dict[str, Any]:
        """What ``score.json`` holds: no identifier, no file name and no path."""
        answer = self.result.to_json(
            intervals=self.intervals.to_json(),
            models={name: origin.to_json() for name, origin in self.models.items()}
            | {"statement": self.statement},
            source={
                "source": self.facts.source,
                "kernel": self.facts.kernel,
                "tube_kv": self.facts.tube_kv,
                "contrast": self.facts.contrast,
                "flags": list(self.flags),
                "warnings": self.warnings,
                "mask": "networks",
                "heart_ml": round(self.heart_ml, 1),
            },
        )
        for lesion, place in zip(answer["lesions"], self.places, strict=True):
            lesion["place"] = place
        return answer


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
        scan: as `coronet.cohort.reader.read_scan` gives it.
        heart_model: finds the heart.
        calcium_model: finds calcium around it.
        protocol: rules of the score.
        method: which score is the answer, one of `coronet.score.methods.METHODS`.
        calibration_factor: mg/(mm³·HU); without it there is no mass.
        force: score even where `suitability` forbids it; the flags stay with the score.

    Raises:
        UnsuitableScan: the scan must not be scored, and why; or no heart was found in it.
        InputError: a model is of the other kind.
        ParamsError: unknown method, or mass without a calibration factor.
    """
    ct, facts = scan.volume, scan.facts
    flags = suitability(ct, facts)
    check_suitable(flags, force=force)
    masks = find_masks(ct, heart_model, calcium_model)
    result = score_mask(
        ct,
        masks.calcium,
        protocol=protocol,
        method=method,
        calibration_factor=calibration_factor,
        slice_thickness_mm=facts.slice_thickness_mm,
    )
    scored = ScanScore(
        ct=ct,
        facts=facts,
        flags=flags,
        masks=masks,
        result=result,
        intervals=score_intervals(ct, masks.calcium, result, probability=masks.certainty),
        places=places_in_heart([lesion.centre_voxel for lesion in result.lesions], masks.heart),
        models={"heart": origin_of(heart_model), "calcium": origin_of(calcium_model)},
    )
    return dataclasses.replace(scored, flags=flags + _late_flags(scored))


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


def _late_flags(scored: ScanScore) -> tuple[str, ...]:
    low, high = PLAUSIBLE_HEART_ML
    found = {
        HEART_SIZE: not low <= scored.heart_ml <= high,
        HEART_CUT: bool(scored.masks.heart[:, :, [0, -1]].any()),
        TUBE_VOLTAGE: scored.facts.tube_kv not in (None, USUAL_KV),
    }
    return tuple(flag for flag, raised in found.items() if raised)


def write_scan_score(folder: Path, scored: ScanScore) -> None:
    """Write ``heart.nii.gz``, ``calcium.nii.gz`` and ``score.json``; other files in ``folder`` stay.

    Masks lie on the scan's own grid.
    """
    for name, mask in ((HEART, scored.masks.heart), (CALCIUM, scored.masks.calcium)):
        write_nifti(Path(folder) / name, scored.ct.with_array(mask))
    write_json(Path(folder) / SCORE, scored.to_json())
