"""Agreement of two readings in numbers: of the pairs themselves, and of many bootstrap samples at once.

A sample is how often each pair was drawn; the pairs themselves are the sample of ones. Sorting once for all
samples and weighting by those counts gives each its ranks, so a thousand samples take a fraction of a second.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

_CELLS = 1 << 19
"""Pairs times resamples that are computed together; bounds the memory, and fits into a processor's cache."""
_SEED = 0


@dataclasses.dataclass(frozen=True)
class ExactShare:
    """A share with its 95 % interval of Clopper and Pearson (Biometrika 1934;26:404).

    It keeps a width where all pairs agree, in which case a bootstrap has none.
    """

    same: int
    of: int
    low: float
    high: float

    def line(self) -> str:
        """The share as text."""
        return (
            f"{self.same} of {self.of} pairs are in the same group: at least {self.low:.1%} of all such "
            "scans (95 %, Clopper-Pearson)"
        )


def share_of_confusion(confusion: Sequence[Sequence[int]]) -> ExactShare:
    """Share of the pairs on the diagonal of a square matrix of counts by group."""
    counts = np.asarray(confusion)
    return exact_share(int(np.trace(counts)), int(counts.sum()))


def exact_share(same: int, of: int) -> ExactShare:
    """``same`` of ``of`` pairs, with the interval of the share."""
    from scipy.stats import binomtest

    interval = binomtest(same, of).proportion_ci(confidence_level=0.95, method="exact")
    return ExactShare(same, of, float(interval.low), float(interval.high))


def kappas(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cohen's κ, unweighted, linear and quadratic, of confusion matrices of shape (…, k, k).

    κ = 1 − Σ w·observed / Σ w·expected (Cohen, Psychol Bull 1968;70:213). NaN where
    no disagreement is expected.
    """
    size = counts.shape[-1]
    steps = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    expected = (
        counts.sum(-1, keepdims=True) * counts.sum(-2, keepdims=True) / counts.sum((-2, -1), keepdims=True)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        return tuple(
            1 - (weights * counts).sum((-2, -1)) / (weights * expected).sum((-2, -1))
            for weights in (steps > 0, steps, steps**2)
        )


def icc(reference: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ICC(1) and ICC(2,1) of two readings, each of shape (…, n); NaN where all values are equal.

    Source: Shrout and Fleiss, Psychol Bull 1979;86:420, from the mean squares of a two-way table.
    """
    means = reference.mean(-1), predicted.mean(-1)
    one, other = reference - means[0][..., None], predicted - means[1][..., None]
    return _icc(reference.shape[-1], means, ((one**2).sum(-1), (other**2).sum(-1), (one * other).sum(-1)))


def _icc(
    subjects: int, means: tuple[np.ndarray, np.ndarray], sums: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """From both readings' means, and the sums of their squared deviations and of the products of those."""
    readers = 2
    between = (sums[0] + sums[1] + 2 * sums[2]) / readers
    columns = subjects * (means[0] - means[1]) ** 2 / readers
    total = sums[0] + sums[1] + columns
    subject_ms = between / (subjects - 1)
    within_ms = (total - between) / (subjects * (readers - 1))
    column_ms = columns / (readers - 1)
    error_ms = (total - between - columns) / ((subjects - 1) * (readers - 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        one = (subject_ms - within_ms) / (subject_ms + (readers - 1) * within_ms)
        two = (subject_ms - error_ms) / (
            subject_ms + (readers - 1) * error_ms + readers * (column_ms - error_ms) / subjects
        )
    return one, two


@dataclasses.dataclass(frozen=True)
class _Ranked:
    """One reading, sorted once for all resamples."""

    values: np.ndarray  # shape (n,)
    order: np.ndarray  # pairs by rising value, shape (n,)
    starts: np.ndarray  # where in `order` each distinct value begins
    place: np.ndarray  # number of its distinct value of each pair, shape (n,)

    @classmethod
    def of(cls, values: np.ndarray) -> _Ranked:
        distinct, place = np.unique(values, return_inverse=True)
        order = np.argsort(place, kind="stable")
        return cls(values, order, np.searchsorted(place[order], np.arange(distinct.size)), place)

    def deviations(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of resamples with ``weights`` (resamples, n): mean, deviation from it and from the mean rank.

        Where a resample holds one value only, the mean is that value and the deviations are exactly 0.
        """
        size = self.values.size
        counts = np.add.reduceat(weights[:, self.order], self.starts, axis=1)
        # ranks of equal values are their mean rank
        ranks = np.cumsum(counts, axis=1) - (counts - 1) / 2 - (size + 1) / 2
        means = weights @ self.values / size
        constant = np.count_nonzero(counts, axis=1) == 1
        means[constant] = self.values[self.order[self.starts[counts[constant].argmax(axis=1)]]]
        deviations = self.values - means[:, None]
        deviations[constant] = 0.0
        return means, deviations, ranks[:, self.place]


@dataclasses.dataclass(frozen=True)
class PairedReadings:
    """Two readings of the same scans, prepared for the statistics of samples of them."""

    reference: _Ranked
    predicted: _Ranked
    cells: _Ranked
    groups: int

    @classmethod
    def of(
        cls, reference: np.ndarray, predicted: np.ndarray, classes: np.ndarray, groups: int
    ) -> PairedReadings:
        """Prepare readings.

        Args:
            reference: scores, shape (n,).
            predicted: scores, shape (n,).
            classes: group of each score, shape (2, n), reference first.
            groups: how many there are.
        """
        cells = _Ranked.of(classes[1] * groups + classes[0])
        return cls(_Ranked.of(reference), _Ranked.of(predicted), cells, groups)

    def statistics(self) -> np.ndarray:
        """Of the pairs themselves: shape (11,), in the order of `resampled`."""
        values: np.ndarray = _statistics(np.ones((1, self.cells.values.size)), self)[0]
        return values

    def resampled(self, resamples: int) -> np.ndarray:
        """Of pairs drawn with replacement.

        Returns:
            Shape (resamples, 11), in the order of `coronet.evaluation.agreement.Statistics` with ``limits``
            last as two columns; NaN where a statistic is not defined.
        """
        rng, size = np.random.default_rng(_SEED), self.cells.values.size
        batch = max(1, _CELLS // size)
        rows = []
        for start in range(0, resamples, batch):
            count = min(batch, resamples - start)
            chosen = rng.integers(size, size=(count, size)) + size * np.arange(count)[:, None]
            weights = np.bincount(chosen.reshape(-1), minlength=count * size).reshape(count, size)
            rows.append(_statistics(weights.astype(np.float64), self))
        return np.concatenate(rows)


def _statistics(weights: np.ndarray, readings: PairedReadings) -> np.ndarray:
    size, cells, groups = weights.shape[1], readings.cells, readings.groups
    counts = np.zeros((len(weights), groups**2))
    counts[:, cells.values[cells.order[cells.starts]]] = np.add.reduceat(
        weights[:, cells.order], cells.starts, axis=1
    )
    confusion = counts.reshape(-1, groups, groups)
    mean, one, rank = readings.reference.deviations(weights)
    other_mean, other, other_rank = readings.predicted.deviations(weights)
    sums, rank_sums = _products(weights, one, other), _products(weights, rank, other_rank)
    bias = other_mean - mean
    difference = other - one
    spread = 1.96 * np.sqrt(np.einsum("bn,bn,bn->b", weights, difference, difference) / size)
    return np.stack(
        [
            *kappas(confusion),
            np.einsum("bii->b", confusion) / size,
            *_icc(size, (mean, other_mean), sums),
            _correlation(rank_sums),
            _correlation(sums),
            bias,
            bias - spread,
            bias + spread,
        ],
        axis=-1,
    )


def _products(
    weights: np.ndarray, one: np.ndarray, other: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weighted sums of one², other² and one · other."""
    weighted = weights * one
    return (
        np.einsum("bn,bn->b", weighted, one),
        np.einsum("bn,bn,bn->b", weights, other, other),
        np.einsum("bn,bn->b", weighted, other),
    )


def _correlation(sums: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    """A resample may hold one value only; its NaN is left out of the interval and counted."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.clip(sums[2] / np.sqrt(sums[0] * sums[1]), -1, 1))
