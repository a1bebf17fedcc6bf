"""A mask drawn from strokes, with the forest's maps and the rows that it adds to the library."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from coronet.annotation.forest import Forest, Samples


@dataclasses.dataclass(frozen=True)
class CalciumTally:
    """What a calcium mask holds.

    Attributes:
        pieces: 26-connected pieces of the mask.
        mm3: volume of the mask.
        unreviewed: pieces of the mask that no stroke labels: the forest kept them.
        unreviewed_at_mm: centres (x, y, z) of the largest of those, RAS+.
        left_out: other bright pieces in and near the heart that no stroke labels.
        missed: strokes that touch no bright piece.
    """

    pieces: int
    mm3: float
    unreviewed: int
    unreviewed_at_mm: tuple[tuple[float, ...], ...]
    left_out: int
    missed: int


@dataclasses.dataclass(frozen=True)
class DraftMask:
    """A mask and what comes with it.

    Attributes:
        mask: uint8 of the scan's shape; labels as the cohort keeps them.
        maps: makes `probability` and `uncertainty`, once they are asked for.
        samples: rows of this scan's own strokes, for the library; empty where it has none.
        forest: the forest that was used; None where none was needed.
        tally: of a calcium mask.
    """

    mask: np.ndarray
    maps: Callable[[], tuple[np.ndarray, np.ndarray]] = dataclasses.field(repr=False)
    samples: Samples
    forest: Forest | None
    tally: CalciumTally | None = None

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
