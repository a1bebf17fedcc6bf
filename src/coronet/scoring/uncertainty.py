"""How far a score moves with choices that cannot be made exactly: an interval, and the groups it touches.

This is a sensitivity, no confidence interval: it says what the same scan would score had the mask been cut
at another probability or lain one voxel off, not how often the truth lies between.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from coronet.errors import InputError
from coronet.io.volume import Volume
from coronet.scoring.calcium_score import ScoreResult, graded, score_calcium
from coronet.scoring.counted_voxels import nonzero
from coronet.scoring.risk_groups import PRESETS

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)  # probabilities from which a voxel counts


@dataclasses.dataclass(frozen=True)
class Intervals:
    """Where the score lies when the mask changes.

    Attributes:
        method: by which the score is computed.
        value: the score itself.
        at_threshold: (probability, score) for each threshold; empty without a probability map.
        at_shift: scores of the mask moved by one voxel each way along x, y and z.
        groups: for each preset the groups between ``low`` and ``high``, rising.
    """

    method: str
    value: float
    at_threshold: tuple[tuple[float, float], ...]
    at_shift: tuple[float, ...]
    groups: Mapping[str, tuple[str, ...]]

    @property
    def low(self) -> float:
        """The lowest score of all."""
        return min(self._all())

    @property
    def high(self) -> float:
        """The highest score of all."""
        return max(self._all())

    def _all(self) -> tuple[float, ...]:
        return (self.value, *self.at_shift, *(score for _, score in self.at_threshold))

    def sure(self, preset: str) -> bool:
        """Whether the whole interval lies in one group of ``preset``."""
        return len(self.groups[preset]) == 1

    def to_json(self) -> dict[str, Any]:
        """As plain values; ``sure`` says for each preset whether only one group is possible."""
        thresholds = [score for _, score in self.at_threshold]
        return {
            "method": self.method,
            "low": self.low,
            "high": self.high,
            "threshold": {
                "low": min(thresholds),
                "high": max(thresholds),
                "scores": [{"probability": at, "score": score} for at, score in self.at_threshold],
            }
            if thresholds
            else None,
            "shift": {"voxels": 1, "low": min(self.at_shift), "high": max(self.at_shift)},
            "groups": {preset: list(groups) for preset, groups in self.groups.items()},
            "sure": {preset: self.sure(preset) for preset in self.groups},
        }


def score_intervals(
    ct: Volume,
    mask: np.ndarray,
    result: ScoreResult,
    *,
    probability: np.ndarray | None = None,
) -> Intervals:
    """Score the mask again, cut at other probabilities and moved by one voxel.

    Args:
        ct: HU, shape (x, y, z).
        mask: the mask that gave ``result``.
        result: its score; protocol and method are taken from it. Volume and mass have no groups, so for
            these methods the interval is the Agatston score's.
        probability: of calcium, same shape, 0…1; without it only the shift is tried.

    Raises:
        InputError: the probability map does not fit the scan.
    """
    if probability is not None and probability.shape != ct.shape:
        raise InputError(f"The probability map has shape {probability.shape} and the scan {ct.shape}.")
    method = graded(result.method)

    def score(box: Volume, chosen: np.ndarray) -> float:
        again = score_calcium(
            box,
            chosen,
            protocol=result.protocol,
            method=method,
            slice_thickness_mm=result.slice_thickness_mm,
        )
        return again.value

    widest = mask != 0 if probability is None else (mask != 0) | (probability >= min(THRESHOLDS))
    place = nonzero(widest)
    lowest = np.maximum(place.min(axis=0) - 1, 0) if place.size else np.zeros(3, dtype=int)
    highest = place.max(axis=0) + 2 if place.size else np.ones(3, dtype=int)
    box = tuple(slice(int(a), int(b)) for a, b in zip(lowest, highest, strict=True))
    small, cut = ct.with_array(ct.array[box]), mask[box] != 0
    at_threshold: tuple[tuple[float, float], ...] = ()
    if probability is not None:
        at_threshold = tuple((float(at), score(small, probability[box] >= at)) for at in THRESHOLDS)
    moved = [_moved(cut, axis, step) for axis in range(3) for step in (-1, 1)]
    _check_neighbours(small, moved)
    at_shift = tuple(score(small, mask) for mask in moved)
    value = result.scores.of(method)
    ends = value, *at_shift, *(item for _, item in at_threshold)
    return Intervals(
        method=method,
        value=value,
        at_threshold=at_threshold,
        at_shift=at_shift,
        groups={name: _between(result, name, min(ends), max(ends)) for name in PRESETS},
    )


def _check_neighbours(ct: Volume, moved: Sequence[np.ndarray]) -> None:
    if ct.array.dtype.kind != "f" or np.isfinite(ct.array).all():
        return
    lost = int((np.logical_or.reduce(moved) & ~np.isfinite(ct.array)).sum())
    if lost:
        raise InputError(
            f"{lost} voxels beside the mask are no numbers in the scan (NaN or infinite). The interval of "
            "the score moves the mask by one voxel and cannot be computed. Export the scan again; what lies "
            "outside of its field of view is -1024 HU."
        )


def _moved(mask: np.ndarray, axis: int, step: int) -> np.ndarray:
    """``mask`` moved by one voxel along ``axis``; what leaves the array is lost, what enters is empty."""
    result = np.zeros_like(mask)
    source, target = [slice(None)] * 3, [slice(None)] * 3
    source[axis], target[axis] = (
        (slice(None, -1), slice(1, None)) if step > 0 else (slice(1, None), slice(None, -1))
    )
    result[tuple(target)] = mask[tuple(source)]
    return result


def _between(result: ScoreResult, preset: str, low: float, high: float) -> tuple[str, ...]:
    """Every group from the one of ``low`` to the one of ``high``; a vessel count keeps to the score's own."""
    groups = PRESETS[preset]
    labels = groups.labels[groups.index(low) : groups.index(high) + 1]
    own = result.groups[preset]
    return tuple(own if own.startswith(f"{label}/") else label for label in labels)
