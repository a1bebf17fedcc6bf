"""Risk groups of a calcium score.

Every preset covers all of 0…∞ without gaps, so that scores between the whole numbers of the published
tables (0.5, 100.5, 400.7) have a group.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from coronet.errors import InputError, ParamsError
from coronet.text import nearest

_TOLERANCE = 1e-6
"""Scores this near to 0 or to a bound are on it: a score is a sum of products and carries rounding errors."""
HIGHEST = 1e9  # no score of any method comes near it; larger numbers are identifiers or another quantity


def are_scores(values: np.ndarray) -> np.ndarray:
    """Which values, of shape (n,), a calcium score can have; bool."""
    return (values >= -_TOLERANCE) & (values <= HIGHEST)


@dataclasses.dataclass(frozen=True)
class Groups:
    """Bins of a score; the first holds 0 alone.

    Attributes:
        name: key in `PRESETS`.
        labels: one per group, rising.
        bounds: between the groups after the first: one fewer than ``labels`` less one.
        bound_is_above: a score equal to a bound belongs to the group above it (``[a, b)``), else to the one
            below (``(a, b]``).
        source: where the groups come from.
    """

    name: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...]
    bound_is_above: bool
    source: str

    def index(self, score: float) -> int:
        """Number of the group that ``score`` falls into, from 0.

        Raises:
            InputError: the score is negative, infinite or no number.
        """
        return int(self.indices(np.array([score], dtype=np.float64))[0])

    def label(self, score: float) -> str:
        """Name of the group that ``score`` falls into; raises as `index` does."""
        return self.labels[self.index(score)]

    def indices(self, scores: np.ndarray) -> np.ndarray:
        """Number of the group of each score, from 0; both arrays of shape (n,).

        Raises:
            InputError: a score is negative, infinite, beyond `HIGHEST` or no number.
        """
        wrong = scores[~are_scores(scores)]
        if wrong.size:
            raise InputError(f"{wrong[0]} is no calcium score; a score is a number from 0 to {HIGHEST:.0e}.")
        shift = _TOLERANCE if self.bound_is_above else -_TOLERANCE
        above_zero = 1 + np.searchsorted(self.bounds, scores + shift, side="right")
        return np.where(scores <= _TOLERANCE, 0, above_zero)


PRESETS: Mapping[str, Groups] = MappingProxyType(
    {
        groups.name: groups
        for groups in (
            Groups(
                name="paper",
                labels=("0", "1-100", "101-300", ">300"),
                bounds=(100.0, 300.0),
                bound_is_above=False,
                source="medRxiv 2024.09.06.24313174 and Zeleznik 2021: very low, low, moderate, high",
            ),
            Groups(
                name="aha",
                labels=("0", "1-99", "100-399", ">=400"),
                bounds=(100.0, 400.0),
                bound_is_above=True,
                source="as in the ACC/AHA guidelines: none, mild, moderate, severe",
            ),
            Groups(
                name="five",
                labels=("0", "1-10", "11-100", "101-400", ">400"),
                bounds=(10.0, 100.0, 400.0),
                bound_is_above=False,
                source="Rumberger 1999: none, minimal, mild, moderate, extensive",
            ),
            Groups(
                name="cac-drs",
                labels=("A0", "A1", "A2", "A3"),
                bounds=(100.0, 300.0),
                bound_is_above=True,
                source="CAC-DRS, Hecht 2018; a score of exactly 300 is A3, as PMC10585920 reads it",
            ),
        )
    }
)


def find_groups(preset: str) -> Groups:
    """The groups called ``preset``.

    Raises:
        ParamsError: there are none; the nearest name is given.
    """
    if preset in PRESETS:
        return PRESETS[preset]
    raise ParamsError(
        f'There are no risk groups "{preset}"{nearest(preset, PRESETS)} ({", ".join(PRESETS)} are known).'
    )


def risk_group(score: float, preset: str, *, vessels: int | None = None) -> str:
    """Label of the group that ``score`` falls into.

    Args:
        score: Agatston score, or the score of another method in its unit.
        preset: ``paper``, ``aha``, ``five`` or ``cac-drs``.
        vessels: how many of LM, LAD, LCX and RCA hold calcium, where that is known; CAC-DRS appends it.

    Raises:
        InputError: the score is negative, infinite or no number.
        ParamsError: the preset is unknown.
    """
    groups = find_groups(preset)
    label = groups.label(score)
    if preset == "cac-drs" and vessels is not None and label != groups.labels[0]:
        return f"{label}/N{vessels}"
    return label
