"""How well one mask agrees with another, voxel by voxel and lesion by lesion.

Where both masks are empty there is nothing to measure: the measures are None then, and an average says how
many cases it rests on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

from coronet.imaging.resampling import mask_slices

DECISIVE = {"heart": "dice", "calcium": "lesion_f1"}
"""The metric on the tune cases that chooses a training's epoch and ranks a trial, by model.

Lesions of calcium count alike whatever their size: in annotated masks one piece of aortic wall that was taken
for coronary can hold more voxels than all lesions of ten patients.
"""


@dataclasses.dataclass(frozen=True)
class Overlap:
    """Voxels in both masks, in the predicted one alone, and in the true one alone."""

    both: int
    predicted_only: int
    true_only: int

    def __add__(self, other: Overlap) -> Overlap:
        """Pooled over two cases."""
        return Overlap(
            *(a + b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True))
        )

    @property
    def dice(self) -> float | None:
        """2·both / (true + predicted); None where both masks are empty."""
        size = 2 * self.both + self.predicted_only + self.true_only
        return 2 * self.both / size if size else None

    @property
    def f1(self) -> float | None:
        """The same number under its other name: the harmonic mean of precision and sensitivity."""
        return self.dice

    @property
    def iou(self) -> float | None:
        """both / either; None where both masks are empty. Never above `f1`."""
        union = self.both + self.predicted_only + self.true_only
        return self.both / union if union else None

    @property
    def precision(self) -> float | None:
        """Share of the predicted voxels that are true; None where none is predicted."""
        size = self.both + self.predicted_only
        return self.both / size if size else None

    @property
    def sensitivity(self) -> float | None:
        """Share of the true voxels that are predicted; None where none is true."""
        size = self.both + self.true_only
        return self.both / size if size else None


def overlap(truth: np.ndarray, predicted: np.ndarray) -> Overlap:
    """Count the voxels that two masks of one shape share and do not share; any value above 0 counts."""
    truth, predicted = truth > 0, predicted > 0
    both = int(np.count_nonzero(truth & predicted))
    return Overlap(both, int(np.count_nonzero(predicted)) - both, int(np.count_nonzero(truth)) - both)


def dice(truth: np.ndarray, predicted: np.ndarray) -> float | None:
    """Dice coefficient; None where both masks are empty."""
    return overlap(truth, predicted).dice


@dataclasses.dataclass(frozen=True)
class LesionMatch:
    """Lesions, as connected parts of a mask (26 neighbours)."""

    true: int  # lesions of the true mask
    found: int  # those that the prediction touches
    predicted: int  # lesions of the predicted mask
    false: int  # those that touch no true one

    def __add__(self, other: LesionMatch) -> LesionMatch:
        """Pooled over two cases."""
        return LesionMatch(
            *(a + b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True))
        )

    @property
    def sensitivity(self) -> float | None:
        """Share of the true lesions found; None where there is none."""
        return self.found / self.true if self.true else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of sensitivity and the share of predicted lesions that are true."""
        size = self.true + self.predicted
        return (self.found + self.predicted - self.false) / size if size else None


def match_lesions(truth: np.ndarray, predicted: np.ndarray) -> LesionMatch:
    """Match the lesions of two masks of one shape by touch; any value above 0 counts."""
    import cc3d

    truth, predicted = truth > 0, predicted > 0
    place = mask_slices(truth | predicted)
    if place is None:
        return LesionMatch(0, 0, 0, 0)
    truth, predicted = truth[place], predicted[place]
    true_parts = cc3d.connected_components(truth, connectivity=26)
    predicted_parts = cc3d.connected_components(predicted, connectivity=26)
    shared = truth & predicted
    true_count, predicted_count = int(true_parts.max()), int(predicted_parts.max())
    return LesionMatch(
        true=true_count,
        found=len(np.unique(true_parts[shared])),
        predicted=predicted_count,
        false=predicted_count - len(np.unique(predicted_parts[shared])),
    )


@dataclasses.dataclass(frozen=True)
class MetricSummary:
    """An average that says what it rests on: ``empty`` cases had nothing to measure."""

    mean: float | None
    median: float | None
    lowest: float | None
    cases: int
    empty: int


def summarise_metrics(values: Iterable[float | None]) -> MetricSummary:
    """Mean, median and lowest of the values that are not None, and how many are and are not."""
    values = list(values)
    measured = [value for value in values if value is not None]
    if not measured:
        return MetricSummary(None, None, None, 0, len(values))
    return MetricSummary(
        mean=float(np.mean(measured)),
        median=float(np.median(measured)),
        lowest=float(min(measured)),
        cases=len(measured),
        empty=len(values) - len(measured),
    )
