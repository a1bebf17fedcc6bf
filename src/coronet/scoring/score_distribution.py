"""The distribution of a scan's score, from candidates that are calcium or not, and how exactly they measure.

Every candidate is in or out by its probability, independently; one that is in measures its score with an
error; lesions that are no candidate come as a Poisson process. Their sum is computed by convolution on a
grid, so it needs no random numbers and is the same each time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from coronet.scoring.risk_groups import Groups

LEVEL = 0.9
"""Probability that an interval or a set of groups holds."""
_BINS = 4096  # of the grid from 0 to the highest possible score
_REACH_SD = 6.0  # how far the measurement error of a lesion is followed
_REACH_MISSED = 12.0  # the same of lesions that are no candidate, in means of their score


@dataclasses.dataclass(frozen=True)
class ScoreDistribution:
    """Probabilities of scores.

    Attributes:
        scores: rising from 0, shape (n,).
        mass: the probability of each, shape (n,); together 1. The first is that of no calcium at all.
    """

    scores: np.ndarray
    mass: np.ndarray

    def quantile(self, level: float) -> float:
        """The lowest score that is reached or not exceeded with probability ``level``."""
        cumulated = np.cumsum(self.mass)
        # rounding of the last sum must not ask for more than there is
        place = int(np.searchsorted(cumulated, level - 1e-9))
        return float(self.scores[min(place, self.scores.size - 1)])

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """The central interval that holds ``level`` of the probability."""
        return self.quantile((1 - level) / 2), self.quantile((1 + level) / 2)

    def group_probabilities(self, groups: Groups) -> dict[str, float]:
        """Probability of each risk group, by label, rising; together 1."""
        place = groups.indices(self.scores)
        found = np.bincount(place, weights=self.mass, minlength=len(groups.labels))
        return dict(zip(groups.labels, found.tolist(), strict=True))


def likely_groups(probabilities: dict[str, float], level: float = LEVEL) -> tuple[str, ...]:
    """The fewest groups that hold ``level`` together, in the order of ``probabilities``."""
    chosen: set[str] = set()
    held = 0.0
    for label in sorted(probabilities, key=lambda label: -probabilities[label]):
        chosen.add(label)
        held += probabilities[label]
        if held >= level - 1e-9:
            break
    return tuple(label for label in probabilities if label in chosen)


def score_distribution(
    probability: Sequence[float] | np.ndarray,
    score: Sequence[float] | np.ndarray,
    sd: Sequence[float] | np.ndarray,
    *,
    missed: float = 0.0,
    missed_score: float = 0.0,
) -> ScoreDistribution:
    """Distribution of the sum of independent lesions.

    Args:
        probability: that each candidate is calcium, shape (n,).
        score: of each candidate if it is, shape (n,).
        sd: standard deviation of the measured score, shape (n,); the error is log-normal about ``score``.
        missed: expected number of lesions that are no candidate; Poisson.
        missed_score: mean score of one of these; exponential.
    """
    chance, value, spread = (np.asarray(item, dtype=np.float64) for item in (probability, score, sd))
    scored = value > 0  # what is too small to score adds nothing
    chance, value, spread = chance[scored], value[scored], spread[scored]
    missed = missed if missed_score > 0 else 0.0
    tops = value + _REACH_SD * spread
    top = tops.sum() + (_REACH_MISSED * missed_score * (1 + np.sqrt(missed)) if missed else 0.0)
    if top == 0:
        return ScoreDistribution(np.zeros(1), np.ones(1))
    step = top / (_BINS - value.size - 2)
    length = 2 * _BINS  # Poisson's tail may lie beyond the grid and must not come back at its beginning
    spectrum = np.ones(length // 2 + 1, dtype=np.complex128)
    for each, middle, error in zip(chance, value, spread, strict=True):
        spectrum *= (1 - each) + each * np.fft.rfft(_lesion(middle, error, step), length)
    if missed:
        edges = np.arange(_BINS + 1) * step
        exponential = -np.diff(np.exp(-edges / missed_score), prepend=1.0)[:_BINS]
        exponential[0] = 0.0
        exponential /= exponential.sum()
        spectrum *= np.exp(missed * (np.fft.rfft(exponential, length) - 1))
    mass = np.clip(np.fft.irfft(spectrum, length)[:_BINS], 0.0, None)
    mass[mass < 1e-13] = 0.0
    # exact, where the transform leaves rounding: without any lesion the score is 0
    mass[0] = np.prod(1 - chance) * np.exp(-missed)
    rest = mass[1:].sum()
    mass[1:] *= (1 - mass[0]) / rest if rest > 0 else 0.0
    return ScoreDistribution(np.arange(_BINS) * step, mass / mass.sum())


def _lesion(score: float, sd: float, step: float) -> np.ndarray:
    """Probabilities of a lesion's score at 0, step, 2·step, …; nothing at 0, mean ``score``."""
    from scipy.special import ndtr

    if sd < step / 2:  # narrower than the grid: shared between two points, so that the mean stays
        place = max(score / step, 1.0)
        low = int(place)
        result = np.zeros(low + 2)
        result[low], result[low + 1] = 1 - (place - low), place - low
        return result
    width = np.sqrt(np.log1p((sd / score) ** 2))
    middle = np.log(score) - width**2 / 2
    points = int((score + _REACH_SD * sd) / step) + 1
    edges = (np.arange(points + 1) - 0.5) * step
    edges[0] = edges[1] = 0.0
    with np.errstate(divide="ignore"):
        result = np.diff(ndtr((np.log(edges) - middle) / width))
    return np.asarray(result / result.sum())
