"""How sure a score is: probabilities of lesions and of risk groups, and an interval of the score.

All of it rests on the calibration of the calcium network (`coronet.networks.calibration`), fitted on tune
patients. Without one nothing is said.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from coronet.io.volume import Volume
from coronet.networks.calibration import Calibration
from coronet.scoring.agatston import agatston_of_parts, highest
from coronet.scoring.calcium_score import ScoreResult, graded
from coronet.scoring.counted_voxels import find_calcium
from coronet.scoring.protocol import Protocol
from coronet.scoring.risk_groups import PRESETS
from coronet.scoring.score_distribution import (
    LEVEL,
    ScoreDistribution,
    likely_groups,
    score_distribution,
)

if TYPE_CHECKING:
    from coronet.inference.predict import CalciumCandidates

DOUBTFUL = "doubtful_score"
"""Warning of a score that its own distribution contradicts."""
_ROUNDING = 0.05  # of a score as it is printed
_LIKELY = 0.5  # a score of 0 is doubtful where any other has a larger probability than this
_LEAST_SHOWN = 0.05  # candidates that are not counted are listed from this probability on


@dataclasses.dataclass(frozen=True)
class DoubtedLesion:
    """A candidate that is not counted, but may be calcium."""

    probability: float
    agatston: float  # what it would add to the score
    centre_voxel: tuple[float, float, float]  # mean index (x, y, z) of its voxels
    slices: tuple[int, int]  # first and last index along z


@dataclasses.dataclass(frozen=True)
class ScoreUncertainty:
    """What the score of a scan may be.

    Attributes:
        method: of the score, ``agatston`` or ``volume_weighted``.
        median: of the distribution of the score.
        low: lower end of the central 90 % interval.
        high: its upper end.
        groups: by preset, the probability of each group; together 1.
        likely: by preset, the fewest groups that hold 90 % together, rising.
        lesions: probability of each lesion of the score's list, in its order.
        doubted: candidates that are not counted, most probable first; only those of 5 % or more.
        distribution: of the score.
    """

    method: str
    median: float
    low: float
    high: float
    groups: Mapping[str, Mapping[str, float]]
    likely: Mapping[str, tuple[str, ...]]
    lesions: tuple[float, ...]
    doubted: tuple[DoubtedLesion, ...]
    distribution: ScoreDistribution = dataclasses.field(repr=False, compare=False)

    def sure(self, preset: str) -> bool:
        """Whether one group of ``preset`` holds 90 % by itself."""
        return len(self.likely[preset]) == 1

    def contradiction(self, value: float) -> str:
        """Why a score must not be read as it stands, in words; empty where it may.

        Args:
            value: of `method`, of what is counted.
        """
        unit = " mm³" if self.method == "volume_weighted" else ""
        # the distribution lies on a grid, so a score may lie a step beside its own quantile
        margin = _ROUNDING + float(self.distribution.scores[:2].max())
        if not self.low - margin <= value <= self.high + margin:
            return (
                f"the score {value:.1f}{unit} lies outside of its own {LEVEL:.0%} interval, "
                f"{self.low:.1f} to {self.high:.1f}{unit}: bright spots were counted or "
                "left out against their probability"
            )
        positive = 1 - self.groups["paper"]["0"]
        if value <= 0 and positive > _LIKELY:
            return f"the score is 0, but a score above 0 has a probability of {positive:.0%}"
        return ""

    def to_json(self) -> dict[str, Any]:
        """As plain values; lesions carry their probability themselves."""
        return {
            "method": self.method,
            "level": LEVEL,
            "median": round(self.median, 3),
            "low": round(self.low, 3),
            "high": round(self.high, 3),
            "groups": {
                preset: {label: round(value, 4) for label, value in groups.items()}
                for preset, groups in self.groups.items()
            },
            "likely_groups": {preset: list(labels) for preset, labels in self.likely.items()},
            "doubted": [
                {
                    "probability": round(item.probability, 4),
                    "agatston": round(item.agatston, 3),
                    "centre_voxel": [round(value, 2) for value in item.centre_voxel],
                    "slices": list(item.slices),
                }
                for item in self.doubted
            ],
        }


def score_uncertainty(
    ct: Volume, candidates: CalciumCandidates, calibration: Calibration, result: ScoreResult
) -> ScoreUncertainty:
    """The distribution of a scan's score.

    Args:
        ct: HU, shape (x, y, z).
        candidates: of this scan.
        calibration: of the network that found them.
        result: the score of those that are counted; protocol and method are taken from it. Volume and mass
            have no groups, so for these methods the distribution is the Agatston score's.
    """
    method = graded(result.method)
    scores = candidate_scores(
        ct, candidates, result.protocol, method=method, slice_thickness_mm=result.slice_thickness_mm
    )
    sizes = np.bincount(candidates.number, minlength=candidates.counted.size)
    probability = calibration.probability(candidates.network, sizes * ct.voxel_mm3)
    # the tune patients' lesions were measured in Agatston units; another score errs by the same share
    agatston = (
        scores
        if method == "agatston"
        else candidate_scores(ct, candidates, result.protocol, slice_thickness_mm=result.slice_thickness_mm)
    )
    share = np.divide(
        calibration.error_sd(agatston), agatston, out=np.zeros_like(agatston), where=agatston > 0
    )
    scale = scores.sum() / agatston.sum() if agatston.sum() else 1.0
    found = score_distribution(
        probability,
        scores,
        share * scores,
        missed=calibration.missed_per_scan,
        missed_score=calibration.missed_score * scale,
    )
    low, high = found.interval(LEVEL)
    groups = {name: found.group_probabilities(preset) for name, preset in PRESETS.items()}
    centres = _centres(candidates)
    return ScoreUncertainty(
        method=method,
        median=found.quantile(0.5),
        low=low,
        high=high,
        groups=groups,
        likely={name: likely_groups(chances, LEVEL) for name, chances in groups.items()},
        lesions=_of_lesions(result, centres, candidates.counted, probability),
        doubted=_doubted(candidates, centres, probability, scores),
        distribution=found,
    )


def candidate_scores(
    ct: Volume,
    candidates: CalciumCandidates,
    protocol: Protocol,
    *,
    method: str = "agatston",
    slice_thickness_mm: float | None = None,
) -> np.ndarray:
    """What each candidate adds to the score if it is calcium, shape (candidates,).

    Args:
        ct: HU, shape (x, y, z).
        candidates: of this scan; no two touch, so that their scores add up.
        protocol: rules of the score.
        method: ``agatston`` or ``volume_weighted``.
        slice_thickness_mm: nominal, for protocols that ask for it.
    """
    count = candidates.counted.size
    if not count:
        return np.zeros(0)
    # a box of the candidates alone, numbered from 1
    low = [int(axis.min()) for axis in candidates.place]
    box = tuple(slice(a, int(axis.max()) + 1) for a, axis in zip(low, candidates.place, strict=True))
    labels = np.zeros([side.stop - side.start for side in box], np.int32)
    labels[tuple(axis - a for axis, a in zip(candidates.place, low, strict=True))] = candidates.number + 1
    calcium = find_calcium(ct.with_array(ct.array[box]), labels, protocol)
    if method == "volume_weighted":
        weights = protocol.weight(highest(calcium.hu, calcium.lesion, calcium.lesions))
        of_voxel = weights[calcium.lesion] * calcium.voxel_mm3
    else:
        parts = agatston_of_parts(calcium, protocol, slice_thickness_mm=slice_thickness_mm)
        of_voxel = (parts / np.bincount(calcium.part))[calcium.part]
    return np.bincount(calcium.label, weights=of_voxel, minlength=count + 1)[1:]


def _centres(candidates: CalciumCandidates) -> np.ndarray:
    """Mean index of each candidate's voxels, shape (candidates, 3)."""
    sizes = np.bincount(candidates.number, minlength=candidates.counted.size)
    sums = [
        np.bincount(candidates.number, weights=axis, minlength=candidates.counted.size)
        for axis in candidates.place
    ]
    return np.stack(sums, axis=1) / sizes[:, None]


def _of_lesions(
    result: ScoreResult, centres: np.ndarray, counted: np.ndarray, probability: np.ndarray
) -> tuple[float, ...]:
    """Probability of the counted candidate that each lesion is, or is a part of by protocols that divide."""
    places, chances = centres[counted], probability[counted]
    return tuple(
        float(chances[np.abs(places - np.array(lesion.centre_voxel)).sum(axis=1).argmin()])
        for lesion in result.lesions
    )


def _doubted(
    candidates: CalciumCandidates, centres: np.ndarray, probability: np.ndarray, scores: np.ndarray
) -> tuple[DoubtedLesion, ...]:
    shown = np.flatnonzero(~candidates.counted & (probability >= _LEAST_SHOWN) & (scores > 0))
    found = []
    for number in shown[np.argsort(-probability[shown], kind="stable")]:
        levels = candidates.place[2][candidates.number == number]
        x, y, z = map(float, centres[number])
        found.append(
            DoubtedLesion(
                float(probability[number]),
                float(scores[number]),
                (x, y, z),
                (int(levels.min()), int(levels.max())),
            )
        )
    return tuple(found)
