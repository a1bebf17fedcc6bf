"""A mask drawn from strokes, with the forest's maps and the rows that it adds to the library."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from coronet.annotation.forest import Forest, Samples


@dataclasses.dataclass(frozen=True)
class CalciumTally:
    """What a calcium mask holds."""

    pieces: int  # 26-connected pieces of the mask
    mm3: float
    unreviewed: int  # pieces of the mask that no stroke labels: the forest kept them
    unreviewed_at_mm: tuple[tuple[float, ...], ...]  # centres (x, y, z) of the largest of those, RAS+
    left_out: int  # other bright pieces in and near the heart that no stroke labels
    missed: int  # strokes that touch no bright piece


@dataclasses.dataclass(frozen=True)
class DraftMask:
    """A mask and what comes with it."""

    mask: np.ndarray  # uint8 of the scan's shape; labels as the cohort keeps them
    # makes `probability` and `uncertainty`, once they are asked for
    maps: Callable[[], tuple[np.ndarray, np.ndarray]] = dataclasses.field(repr=False)
    samples: Samples  # rows of this scan's own strokes, for the library; empty where it has none
    forest: Forest | None  # the forest that was used; None where none was needed
    tally: CalciumTally | None = None  # of a calcium mask

    @functools.cached_property
    def _made(self) -> tuple[np.ndarray, np.ndarray]:
        return self.maps()

    @property
    def probability(self) -> np.ndarray:
        """Per cent that a voxel belongs to the mask; uint8 of the scan's shape."""
        return self._made[0]

    @property
    def uncertainty(self) -> np.ndarray:
        """Per cent; 100 where the forest is undecided; uint8 of the scan's shape."""
        return self._made[1]

    @property
    def out_of_bag(self) -> float | None:
        """`Forest.out_of_bag`, where there is a forest."""
        return None if self.forest is None else self.forest.out_of_bag


def uncertainty_of(probability: np.ndarray) -> np.ndarray:
    """100 at a probability of 50 per cent, 0 at 0 and 100; uint8 of uint8."""
    certain = np.abs(probability.astype(np.int16) * 2 - 100)
    return (100 - certain).astype(np.uint8)
