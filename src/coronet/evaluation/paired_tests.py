"""Is the challenger better? One figure of the same patients, measured with both models.

A difference is always turned so that above zero is in the challenger's favour. What is found rests on two
things that must agree: an exact signed-rank test, which holds for any number of patients, and a bootstrap
interval of the mean difference, which says how much it is.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from coronet.errors import InputError

BETTER, WORSE, ALIKE, NOT_WORSE, OPEN = "better", "worse", "alike", "not worse", "open"
_POWER = 0.8
_SEED = 0
_DIGITS = 12
"""Differences are rounded to so many decimals, so that equal ones are ties in spite of binary fractions."""


@dataclasses.dataclass(frozen=True)
class PairedComparison:
    """One figure, patient by patient."""

    name: str  # of the figure, such as `dice`
    patients: tuple[str, ...]  # what they are called, sorted
    champion: tuple[float, ...]  # the figure of each patient
    challenger: tuple[float, ...]  # the same with the challenger
    higher_is_better: bool  # whether a gain goes up
    margin: float  # the smallest difference that matters, in the figure's unit
    level: float  # two-sided error of test and interval
    mean: float  # mean difference; above zero is a gain
    median: float  # median difference
    low: float | None  # lower end of the interval of the mean difference; None of fewer than two patients
    high: float | None  # upper end
    p: float  # two-sided exact signed-rank p of no difference
    p_loss: float  # one-sided p against a loss of `margin` or more
    p_gain: float  # one-sided p against a gain of `margin` or more
    # `better`, `worse`, `alike` (neither a loss nor a gain of the margin is left), `not worse` (a loss of the
    # margin is not left), or `open`
    finding: str
    smallest_p: float  # the smallest two-sided p that so many patients can give, 2/2ⁿ
    least_patients: int  # how many must differ, all in one direction, before p can reach `level`
    # how many would show the mean gain that is seen here with a power of 80 %; None where no gain is seen, or
    # nothing varies
    wanted_patients: int | None

    @property
    def differences(self) -> np.ndarray:
        """Shape (patients,); above zero is a gain."""
        return _differences(self.champion, self.challenger, self.higher_is_better)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return dataclasses.asdict(self)


def compare_paired(
    name: str,
    champion: Mapping[str, float],
    challenger: Mapping[str, float],
    *,
    margin: float,
    level: float,
    resamples: int,
    higher_is_better: bool = True,
) -> PairedComparison:
    """Compare two models by a figure of the same patients.

    The finding is one of a fixed sequence (not worse, then better), so that no level is divided: a gain is
    looked for only where it would matter, and each step stands or falls with test and interval together.

    Args:
        name: of the figure.
        champion: the figure by patient.
        challenger: the same with the challenger.
        margin: the smallest difference that matters, in the figure's unit.
        level: two-sided error; each side has half of it.
        resamples: of the bootstrap.
        higher_is_better: whether a gain goes up.

    Raises:
        InputError: the patients are not the same, or there is none.
    """
    if champion.keys() != challenger.keys() or not champion:
        raise InputError(f"{name}: the champion's {len(champion)} patients are not the challenger's.")
    patients = tuple(sorted(champion))
    old, new = (tuple(float(side[patient]) for patient in patients) for side in (champion, challenger))
    gains = _differences(old, new, higher_is_better)
    low, high = bootstrap_interval(gains, level=level, resamples=resamples)
    p_better, p_worse = signed_rank(gains), signed_rank(-gains)
    p_loss, p_gain = signed_rank(gains + margin), signed_rank(margin - gains)
    return PairedComparison(
        name=name,
        patients=patients,
        champion=old,
        challenger=new,
        higher_is_better=higher_is_better,
        margin=margin,
        level=level,
        mean=float(gains.mean()),
        median=float(np.median(gains)),
        low=low,
        high=high,
        p=min(1.0, 2 * min(p_better, p_worse)),
        p_loss=p_loss,
        p_gain=p_gain,
        finding=_finding((p_better, p_worse, p_loss, p_gain), low, high, margin=margin, level=level),
        smallest_p=smallest_p(len(patients)),
        least_patients=least_patients(level),
        wanted_patients=_wanted(gains, level),
    )


def _differences(old: tuple[float, ...], new: tuple[float, ...], up: bool) -> np.ndarray:
    return np.asarray(np.round((np.asarray(new) - np.asarray(old)) * (1 if up else -1), _DIGITS))


def _finding(
    ps: tuple[float, float, float, float],
    low: float | None,
    high: float | None,
    *,
    margin: float,
    level: float,
) -> str:
    if low is None or high is None:
        return OPEN
    better, worse, loss, gain = (p <= level / 2 for p in ps)
    if better and low > 0:
        return BETTER
    if worse and high < 0:
        return WORSE
    if loss and low > -margin:
        return ALIKE if gain and high < margin else NOT_WORSE
    return OPEN


def signed_rank(differences: np.ndarray) -> float:
    """One-sided exact p of Wilcoxon's signed-rank test: how likely so large a sum of positive ranks is.

    The chance is counted over all 2ⁿ signs that the differences could have had, given their sizes. So it
    is exact with ties, which share their mean rank, and with zeros, which keep their ranks and take no part
    (Pratt, J Am Stat Assoc 1959;54:655). `scipy.stats.wilcoxon` gives the same numbers where nothing is
    tied or zero, and elsewhere by enumeration, which ends at a dozen patients.

    Args:
        differences: shape (n,).
    """
    from scipy.stats import rankdata

    differences = np.round(np.asarray(differences, dtype=float), _DIGITS)
    moved = differences != 0
    if not moved.any():
        return 1.0
    # mean ranks are halves, so doubled ones are whole
    weights = np.rint(2 * rankdata(np.abs(differences))[moved]).astype(int)
    chance = np.zeros(weights.sum() + 1)
    chance[0] = 1.0
    for weight in weights:
        shifted = np.zeros_like(chance)
        shifted[weight:] = chance[:-weight]
        chance = (chance + shifted) / 2
    return float(min(1.0, chance[weights[differences[moved] > 0].sum() :].sum()))


def bootstrap_interval(
    differences: np.ndarray, *, level: float, resamples: int
) -> tuple[float, float] | tuple[None, None]:
    """Bootstrap interval of the mean: bias-corrected and accelerated (Efron, J Am Stat Assoc 1987;82:171).

    Where that is not defined the plain percentiles are taken. Patients are drawn with replacement; the same
    differences always give the same interval.

    Returns:
        Lower and upper end; (None, None) of fewer than two patients.
    """
    from scipy.stats import bootstrap

    if len(differences) < 2:
        return None, None
    if np.ptp(differences) == 0:
        return float(differences[0]), float(differences[0])
    for method in ("BCa", "percentile"):
        found = bootstrap(
            (differences,),
            np.mean,
            confidence_level=1 - level,
            n_resamples=resamples,
            method=method,
            rng=np.random.default_rng(_SEED),
        ).confidence_interval
        if np.isfinite([found.low, found.high]).all():
            break
    return float(found.low), float(found.high)


def smallest_p(patients: int) -> float:
    """The smallest two-sided exact p that so many pairs can give: 2/2ⁿ."""
    return min(1.0, 2.0 ** (1 - patients))


def least_patients(level: float) -> int:
    """How many pairs it takes before the two-sided exact p can reach ``level``."""
    patients = 1
    while smallest_p(patients) > level:
        patients += 1
    return patients


def _wanted(gains: np.ndarray, level: float) -> int | None:
    """Pairs for a power of 80 %, by the t-test's formula over the rank test's efficiency 3/π.

    Source: Lehmann, Nonparametrics (1975), chapter 4.
    """
    from scipy.stats import norm

    if len(gains) < 2 or gains.mean() <= 0 or np.ptp(gains) == 0:
        return None
    effect = gains.mean() / gains.std(ddof=1)
    pairs: float = ((norm.isf(level / 2) + norm.isf(1 - _POWER)) / effect) ** 2 * math.pi / 3
    return max(least_patients(level), math.ceil(pairs))
