"""Where in a heart which coronary artery runs: a map from places to LM, LAD, LCX and RCA.

A place is measured from the heart's centre in standard deviations of its voxels along each axis, so that
hearts of all sizes share one map. The map is a multinomial logistic regression on the monomials of a place
up to the third degree. It is fitted by `coronet.evaluation.vessel_fit` and kept in ``calibration.json``.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

_DEGREE = 3
_FARTHEST = 3.5  # standard deviations; what lies farther out is taken to lie there
_SAMPLED = 30  # voxels of a lesion, about
_POWERS = np.array(
    [powers for powers in itertools.product(range(_DEGREE + 1), repeat=3) if sum(powers) <= _DEGREE]
)


@dataclasses.dataclass(frozen=True)
class HeartFrame:
    """Centre and size of a heart, in voxels of its scan along (x, y, z) of an RAS+ array."""

    centre: np.ndarray  # shape (3,)
    spread: np.ndarray  # standard deviation of its voxels, shape (3,)

    @classmethod
    def of_mask(cls, heart: np.ndarray) -> HeartFrame:
        """Of a mask of shape (x, y, z) that is not empty."""
        centre, spread = np.empty(3), np.empty(3)
        for axis, others in enumerate(((1, 2), (0, 2), (0, 1))):
            count = np.count_nonzero(heart, axis=others)
            index = np.arange(count.size)
            centre[axis] = np.average(index, weights=count)
            spread[axis] = np.sqrt(np.average((index - centre[axis]) ** 2, weights=count))
        return cls(centre, np.maximum(spread, 1.0))

    def features(self, index: np.ndarray) -> np.ndarray:
        """What the map sees of voxels (n, 3), shape (n, 20): monomials of their places."""
        place = np.clip((index - self.centre) / self.spread, -_FARTHEST, _FARTHEST)
        return np.stack([np.prod(place**powers, axis=1) for powers in _POWERS], axis=1)


@dataclasses.dataclass(frozen=True)
class VesselMap:
    """The fitted map, and how right it was.

    Attributes:
        labels: of the vessels in a calcium mask, such as ``(1, 2, 3, 4)``.
        coefficients: one row a label, one column a monomial, shape (labels, 20).
        lesions: that it was fitted on, in ``patients``.
        patients: of them.
        checked: lesions of the tune patients.
        right: of them, how many it gave the right vessel.
    """

    labels: tuple[int, ...]
    coefficients: tuple[tuple[float, ...], ...]
    lesions: int
    patients: int
    checked: int
    right: int

    @classmethod
    def of_json(cls, raw: Any) -> VesselMap:
        """Out of plain data.

        Raises:
            KeyError, TypeError, ValueError: it is no map.
        """
        rows = tuple(tuple(float(value) for value in row) for row in raw["coefficients"])
        found = cls(**{**raw, "labels": tuple(raw["labels"]), "coefficients": rows})
        if np.shape(rows) != (len(found.labels), len(_POWERS)) or not np.isfinite(rows).all():
            raise ValueError(
                "the map of the vessels has other than finite numbers for each label and monomial"
            )
        return found

    def probabilities(self, index: np.ndarray, frame: HeartFrame) -> np.ndarray:
        """Probability of each label at voxels (n, 3) of a scan with that heart, shape (n, labels)."""
        from scipy.special import softmax

        logits = frame.features(index) @ np.array(self.coefficients).T
        return np.asarray(softmax(logits, axis=1))


def sample_places(labels: np.ndarray, heart: np.ndarray) -> Sequence[tuple[int, np.ndarray]]:
    """Label and features (n, 20) of each lesion of a labelled calcium mask, some dozens of voxels of each.

    Args:
        labels: calcium mask, shape (x, y, z); what touches is one lesion where it has one label.
        heart: mask of the same shape.
    """
    import cc3d

    if not labels.any() or not heart.any():
        return ()
    frame = HeartFrame.of_mask(heart)
    parts = cc3d.connected_components(labels, connectivity=26)
    index = np.argwhere(parts)
    owner = parts[tuple(index.T)]
    order = np.argsort(owner, kind="stable")
    lesions = np.split(index[order], np.flatnonzero(np.diff(owner[order])) + 1)
    return tuple(
        (int(labels[tuple(lesion[0])]), frame.features(lesion[:: max(1, len(lesion) // _SAMPLED)]))
        for lesion in lesions
    )
