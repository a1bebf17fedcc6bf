"""Paired statistics of champion and challenger: exact, the same from both sides, honest with few patients."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata, wilcoxon

from coronet.errors import InputError
from coronet.evaluation.paired_tests import (
    bootstrap_interval,
    compare_paired,
    least_patients,
    signed_rank,
    smallest_p,
)

figures = st.lists(st.tuples(*[st.integers(0, 40).map(lambda value: value / 40)] * 2), min_size=1, max_size=9)


def compared(old, new, *, margin: float = 0.02, level: float = 0.05, **options):
    names = [f"p{number:03d}" for number in range(len(old))]
    return compare_paired(
        "dice",
        dict(zip(names, old, strict=True)),
        dict(zip(names, new, strict=True)),
        margin=margin,
        level=level,
        resamples=500,
        **options,
    )


def enumerated(differences: np.ndarray) -> float:
    """Share of all signs that give as large a sum of positive ranks (Pratt's zeros)."""
    ranks = rankdata(np.abs(differences))[differences != 0]
    observed = ranks[differences[differences != 0] > 0].sum()
    sums = [np.dot(ranks, signs) for signs in itertools.product((0, 1), repeat=len(ranks))]
    return np.mean([total >= observed - 1e-9 for total in sums])


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=10))
def test_p_is_that_of_all_signs_with_ties_and_zeros(values):
    differences = np.array(values, float)
    assert signed_rank(differences) == pytest.approx(enumerated(differences))


@settings(max_examples=50)
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=40, unique_by=lambda value: round(abs(value), 9)))
def test_p_is_that_of_scipy_without_ties_and_zeros(values):
    differences = np.array(values)
    assume((np.abs(differences) > 1e-9).all())
    wanted = wilcoxon(differences, alternative="greater", method="exact").pvalue
    assert signed_rank(differences) == pytest.approx(wanted)


@given(figures)
def test_both_sides_say_the_same(pairs):
    old, new = zip(*pairs, strict=True)
    one, other = compared(old, new), compared(new, old)
    assert one.mean == pytest.approx(-other.mean)
    assert one.median == pytest.approx(-other.median)
    assert one.p == other.p
    assert one.p_loss == other.p_gain
    if one.low is not None:
        assert one.low == pytest.approx(-other.high)
        assert one.high == pytest.approx(-other.low)
    mirrored = {"better": "worse", "worse": "better", "alike": "alike"}
    if one.finding in mirrored:
        assert other.finding == mirrored[one.finding]


@given(figures)
def test_a_loss_that_goes_down_is_a_gain_that_goes_up(pairs):
    old, new = zip(*pairs, strict=True)
    down = compared([1 - value for value in old], [1 - value for value in new], higher_is_better=False)
    up = compared(old, new)
    assert down.mean == pytest.approx(up.mean)
    assert down.p == pytest.approx(up.p)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=20))
def test_interval_holds_the_mean(values):
    differences = np.round(np.array(values), 12)
    low, high = bootstrap_interval(differences, level=0.05, resamples=500)
    assert low - 1e-9 <= differences.mean() <= high + 1e-9


@given(st.integers(1, 30))
def test_smallest_p_is_reached_where_all_gain(count):
    gains = np.linspace(0.01, 0.5, count)
    assert min(1.0, 2 * signed_rank(gains)) == pytest.approx(smallest_p(count))


def test_few_patients_can_prove_nothing():
    assert least_patients(0.05) == 6
    assert smallest_p(5) == 0.0625
    five = compared([0.5] * 5, [0.9, 0.91, 0.92, 0.93, 0.94])
    assert five.finding == "open"
    assert (five.smallest_p, five.least_patients) == (0.0625, 6)
    assert compared([0.5] * 6, [0.9, 0.91, 0.92, 0.93, 0.94, 0.95]).finding == "better"
    assert compared([0.5], [0.9]).finding == "open"


def test_a_small_sure_gain_and_a_collapse():
    old = [0.9] * 10
    assert compared(old, [0.91 + number / 1000 for number in range(10)]).finding == "better"
    # nine gain a little and one is lost: the ranks are for it, the mean is not
    collapsed = compared(old, [0.91 + number / 1000 for number in range(9)] + [0.1])
    assert collapsed.finding == "open"
    assert collapsed.mean < 0 < collapsed.median


def test_equal_figures_are_alike_once_there_are_enough():
    assert compared([0.9] * 10, [0.9] * 10).finding == "alike"
    assert compared([0.9] * 4, [0.9] * 4).finding == "open"


def test_no_loss_of_the_margin_is_told_from_no_difference():
    rng = np.random.default_rng(0)
    old = rng.uniform(0.8, 0.9, 12)
    assert compared(old, old + rng.uniform(-0.01, 0.04, 12), margin=0.02).finding in ("better", "not worse")
    assert compared(old, old - rng.uniform(0.05, 0.06, 12)).finding == "worse"
    assert compared(old, old + rng.normal(0, 0.3, 12)).finding == "open"


def test_wanted_patients_grow_with_the_noise():
    calm = compared([0.5] * 5, [0.58, 0.6, 0.62, 0.55, 0.65])
    noisy = compared([0.5] * 5, [0.9, 0.3, 0.8, 0.35, 0.65])
    assert 6 <= calm.wanted_patients < noisy.wanted_patients
    assert compared([0.5] * 5, [0.4, 0.45, 0.3, 0.35, 0.2]).wanted_patients is None


def test_promotions_of_equals_are_rare():
    rng = np.random.default_rng(1)
    found = [compared(*rng.normal(0.8, 0.05, (2, 10)), margin=0.001).finding for _ in range(300)]
    assert found.count("better") / 300 <= 0.05


def test_other_patients_are_refused():
    with pytest.raises(InputError, match="not the challenger's"):
        compare_paired("dice", {"a": 1.0}, {"b": 1.0}, margin=0.1, level=0.05, resamples=10)
