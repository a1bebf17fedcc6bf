"""Agreement statistics of many samples at once, for bootstrap intervals.

A thousand resamples through scikit-learn take ten seconds and through these a fraction of one; the tests
hold them equal to the libraries that give the statistics themselves.
"""

from __future__ import annotations

import numpy as np

BATCH = 200
"""Resamples computed together; bounds the memory on long tables."""


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
    readers, subjects = 2, reference.shape[-1]
    of_subject = (reference + predicted) / 2
    grand = of_subject.mean(-1)
    between = readers * ((of_subject - grand[..., None]) ** 2).sum(-1)
    columns = subjects * sum((values.mean(-1) - grand) ** 2 for values in (reference, predicted))
    total = sum(((values - grand[..., None]) ** 2).sum(-1) for values in (reference, predicted))
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


def resample(
    reference: np.ndarray,
    predicted: np.ndarray,
    classes: np.ndarray,
    *,
    groups: int,
    resamples: int,
    seed: int,
) -> np.ndarray:
    """Statistics of pairs drawn with replacement.

    Args:
        reference: scores, shape (n,).
        predicted: scores, shape (n,).
        classes: group of each score, shape (2, n), reference first.
        groups: how many there are.
        resamples: how many samples to draw.
        seed: of the draw.

    Returns:
        Shape (resamples, 11), in the order of `coronet.score.agreement.Statistics` with ``limits`` last as
        two columns; NaN where a statistic is not defined.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for start in range(0, resamples, BATCH):
        chosen = rng.integers(reference.size, size=(min(BATCH, resamples - start), reference.size))
        rows.append(_statistics(reference[chosen], predicted[chosen], classes[:, chosen], groups))
    return np.concatenate(rows)


def _statistics(reference: np.ndarray, predicted: np.ndarray, classes: np.ndarray, groups: int) -> np.ndarray:
    from scipy.stats import rankdata

    samples = np.arange(len(reference))[:, None]
    cell = (samples * groups + classes[1]) * groups + classes[0]
    counts = np.bincount(cell.reshape(-1), minlength=len(reference) * groups**2).reshape(-1, groups, groups)
    difference = predicted - reference
    bias = difference.mean(-1)
    spread = 1.96 * difference.std(-1)
    return np.stack(
        [
            *kappas(counts),
            (classes[0] == classes[1]).mean(-1),
            *icc(reference, predicted),
            _correlation(rankdata(reference, axis=-1), rankdata(predicted, axis=-1)),
            _correlation(reference, predicted),
            bias,
            bias - spread,
            bias + spread,
        ],
        axis=-1,
    )


def _correlation(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    import warnings

    from scipy.stats import pearsonr

    with warnings.catch_warnings():
        # A resample may hold one value only; its NaN is left out of the interval and counted.
        warnings.simplefilter("ignore")
        return pearsonr(one, other, axis=-1).statistic
