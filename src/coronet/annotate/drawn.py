"""A mask as it was drawn, with what the forest thinks of it."""

from __future__ import annotations

import dataclasses

import numpy as np

from coronet.annotate.forest import Forest, Samples


@dataclasses.dataclass(frozen=True)
class Drawn:
    """A mask, the maps behind it, and what it can teach.

    Attributes:
        mask: uint8 of the scan's shape; labels as the cohort keeps them.
        probability: uint8 of the scan's shape, per cent, that a voxel belongs to the mask.
        uncertainty: uint8 of the scan's shape, per cent; 100 where the forest cannot tell.
        samples: rows of this scan's own strokes, for the library; empty where it has none.
        forest: what answered; None where nothing had to be asked.
    """

    mask: np.ndarray
    probability: np.ndarray
    uncertainty: np.ndarray
    samples: Samples
    forest: Forest | None

    @property
    def out_of_bag(self) -> float | None:
        """`Forest.out_of_bag`, where there is a forest."""
        return None if self.forest is None else self.forest.out_of_bag


def uncertainty_of(probability: np.ndarray) -> np.ndarray:
    """100 at a probability of 50 per cent, 0 at 0 and 100; uint8 of uint8."""
    certain = np.abs(probability.astype(np.int16) * 2 - 100)
    return (100 - certain).astype(np.uint8)
