"""How well two readings of the same scans agree: risk groups and scores, with bootstrap intervals."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from coronet.errors import InputError
from coronet.evaluation.agreement_statistics import ExactShare, PairedReadings, exact_share
from coronet.files import write_json
from coronet.scoring.risk_groups import Groups, find_groups

LEAST_PAIRS = 3
_ROUNDING = 1e-12  # a statistic this near to 0 is 0: what is left of two equal sums, such as −2.2e−16


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Agreement of predicted with reference scores; NaN where a statistic is not defined.

    Attributes:
        kappa: Cohen's κ of the groups, unweighted.
        kappa_linear: the same with linear weights.
        kappa_quadratic: the same with quadratic weights.
        concordance: fraction of pairs in the same group.
        icc1: ICC(1), one-way random, single rating (Shrout and Fleiss, Psychol Bull 1979;86:420).
        icc2_1: ICC(2,1), two-way random, absolute agreement, single rating (same source).
        spearman: rank correlation of the scores.
        pearson: correlation of the scores.
        bias: mean of predicted − reference (Bland and Altman, Lancet 1986;327:307).
        limits: bias ∓ 1.96 standard deviations of the differences, taken over n as statsmodels does.
    """

    kappa: float
    kappa_linear: float
    kappa_quadratic: float
    concordance: float
    icc1: float
    icc2_1: float
    spearman: float
    pearson: float
    bias: float
    limits: tuple[float, float]


_SINGLE = tuple(field.name for field in dataclasses.fields(Statistics) if field.name != "limits")


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Two readings compared.

    Attributes:
        pairs: how many.
        groups: the bins.
        confusion: pairs by (predicted group, reference group), shape (groups, groups).
        statistics: of all pairs.
        same_group: pairs in the same group, with the exact interval of their share.
        intervals: 95 % percentile bootstrap interval of each statistic, but the exact one of
            ``concordance``; for ``limits`` one for either.
        undefined: share of resamples in which a statistic was not defined and that its interval leaves out.
        reference: scores, shape (pairs,).
        predicted: scores, shape (pairs,).
        names: what the readings are called, (reference, predicted).
    """

    pairs: int
    groups: Groups
    confusion: np.ndarray
    statistics: Statistics
    same_group: ExactShare
    intervals: Mapping[str, Any]
    undefined: Mapping[str, float]
    reference: np.ndarray
    predicted: np.ndarray
    names: tuple[str, str]

    def lines(self) -> list[str]:
        """The comparison as text."""
        words = {
            "kappa": "κ of the groups",
            "kappa_linear": "κ, linear weights",
            "kappa_quadratic": "κ, quadratic weights",
            "concordance": "same group",
            "icc1": "ICC(1)",
            "icc2_1": "ICC(2,1)",
            "spearman": "Spearman",
            "pearson": "Pearson",
            "bias": f"bias, {self.names[1]} − {self.names[0]}",
        }
        found = [f"{self.pairs} pairs, groups {', '.join(self.groups.labels)}; 95 % intervals in brackets"]
        width = max(map(len, words.values()))
        for name, word in words.items():
            value, (low, high) = getattr(self.statistics, name), self.intervals[name]
            if not math.isfinite(value):
                found.append(f"{word:<{width}}  not defined")
            elif not math.isfinite(low) or math.isclose(low, high, rel_tol=_ROUNDING, abs_tol=_ROUNDING):
                # [1, 1] would be what three pairs give as well as three thousand
                found.append(f"{word:<{width}}  {value:.4g}  no interval, since all resamples are alike")
            else:
                found.append(f"{word:<{width}}  {value:.4g}  [{low:.4g}, {high:.4g}]")
        found.append(self.same_group.line())
        low, high = self.statistics.limits
        found.append(f"{'limits of agreement':<{width}}  {low:.1f} to {high:.1f}")
        found.append(f"groups: {self.names[1]} in rows, {self.names[0]} in columns")
        heads = ["", *self.groups.labels]
        rows = [[label, *map(str, row)] for label, row in zip(heads[1:], self.confusion, strict=True)]
        found += ["".join(f"{cell:>9}" for cell in row) for row in [heads, *rows]]
        return found

    def __str__(self) -> str:
        """What `coronet agreement` prints."""
        return "\n".join(self.lines())

    def save(self, folder: Path | str, *, extra: Mapping[str, Any] | None = None) -> Path:
        """Write ``agreement.json``, ``.png`` and ``.svg``, and return the first one's path.

        Args:
            folder: made where it is absent.
            extra: more for the JSON file.
        """
        from coronet.evaluation.agreement_plots import write_agreement

        path = Path(folder) / "agreement.json"
        write_json(path, {**self.to_json(), **(extra or {})})
        write_agreement(self, Path(folder))
        return path

    def to_json(self) -> dict[str, Any]:
        """As plain values; what is not defined is None."""
        return {
            **_nulls(dataclasses.asdict(self.statistics)),
            "intervals": _nulls(dict(self.intervals)),
            "undefined": dict(self.undefined),
            "same_group": dataclasses.asdict(self.same_group),
            "confusion": {
                "labels": list(self.groups.labels),
                "rows": self.names[1],
                "columns": self.names[0],
                "counts": self.confusion.tolist(),
            },
            "groups": self.groups.name,
            "pairs": self.pairs,
            "reference": self.names[0],
            "predicted": self.names[1],
        }


def score_agreement(
    reference: np.ndarray,
    predicted: np.ndarray,
    *,
    groups: str = "paper",
    names: tuple[str, str] = ("reference", "predicted"),
    resamples: int = 1000,
) -> Agreement:
    """Compare predicted scores with reference scores of the same scans.

    Args:
        reference: scores, shape (n,).
        predicted: scores of the same scans in the same order, shape (n,).
        groups: preset of risk groups, see `coronet.scoring.risk_groups`.
        names: what to call the two, (reference, predicted).
        resamples: of pairs, drawn with replacement, for the intervals.

    Raises:
        InputError: lengths differ, there are fewer than three pairs, or a value is no score.
    """
    reference, predicted = (np.asarray(values, dtype=np.float64) for values in (reference, predicted))
    if reference.ndim != 1 or reference.shape != predicted.shape:
        raise InputError(
            f"{names[0]} has {reference.size} scores and {names[1]} {predicted.size}; they go in pairs."
        )
    if reference.size < LEAST_PAIRS:
        raise InputError(
            f"Pairs of scores: {reference.size}. Agreement needs at least {LEAST_PAIRS} scans with both."
        )
    if resamples < 1:
        raise InputError(f"{resamples} resamples; the intervals need at least 1, better 1000.")
    bins = find_groups(groups)
    classes = np.array([bins.indices(scores) for scores in (reference, predicted)])
    readings = PairedReadings.of(reference, predicted, classes, len(bins.labels))
    intervals, undefined = _intervals(readings.resampled(resamples))
    same = exact_share(int((classes[0] == classes[1]).sum()), reference.size)
    return Agreement(
        pairs=reference.size,
        groups=bins,
        confusion=_confusion(classes, len(bins.labels)),
        statistics=_statistics_of(readings.statistics()),
        same_group=same,
        intervals=intervals | {"concordance": (same.low, same.high)},
        undefined=undefined,
        reference=reference,
        predicted=predicted,
        names=names,
    )


def _statistics_of(values: np.ndarray) -> Statistics:
    *single, low, high = map(float, values)
    rounded = (0.0 if abs(value) < _ROUNDING else value for value in single)
    return Statistics(**dict(zip(_SINGLE, rounded, strict=True)), limits=(low, high))


def _confusion(classes: np.ndarray, count: int) -> np.ndarray:
    reference, predicted = classes
    return np.bincount(predicted * count + reference, minlength=count * count).reshape(count, count)


def _intervals(resamples: np.ndarray) -> tuple[dict[str, Any], dict[str, float]]:
    """95 % percentile intervals over resamples, of shape (resamples, values)."""
    pairs = []
    for values in np.where(np.abs(resamples) < _ROUNDING, 0.0, resamples).T:
        defined = values[np.isfinite(values)]
        low, high = np.percentile(defined, [2.5, 97.5]) if defined.size else (math.nan, math.nan)
        pairs.append((float(low), float(high)))
    names = (*_SINGLE, "limits")
    intervals = dict(zip(names, [*pairs[:-2], (pairs[-2], pairs[-1])], strict=True))
    missing = (~np.isfinite(resamples)).mean(axis=0)
    undefined = {name: float(share) for name, share in zip(names, missing, strict=False) if share}
    return intervals, undefined


def _nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _nulls(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_nulls(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
