"""The distribution of a sum of uncertain lesions, against what can be said by hand."""

from __future__ import annotations

import numpy as np
import pytest

from coronet.scoring.risk_groups import PRESETS
from coronet.scoring.score_distribution import likely_groups, score_distribution


def mean_of(found) -> float:
    return float((found.scores * found.mass).sum())


def test_sure_lesions_give_a_distribution_about_the_score():
    found = score_distribution([1, 1, 1], [12.5, 200, 61], [1.0, 8.0, 3.0])
    assert mean_of(found) == pytest.approx(273.5, rel=1e-3)
    assert found.quantile(0.5) == pytest.approx(273.5, rel=0.01)
    low, high = found.interval()
    assert (high - low) / 2 == pytest.approx(1.645 * np.sqrt(1 + 64 + 9), rel=0.05)
    assert found.mass[0] == 0


def test_sure_lesions_that_measure_exactly_are_one_score():
    found = score_distribution([1, 1], [40, 100], [0, 0])
    assert found.interval() == pytest.approx((140, 140), rel=1e-3)
    assert found.group_probabilities(PRESETS["paper"])["101-300"] == pytest.approx(1)


def test_one_doubtful_lesion_has_two_scores():
    found = score_distribution([0.5], [150], [0])
    assert found.mass[0] == 0.5
    assert found.interval() == pytest.approx((0, 150), rel=1e-3)
    assert found.group_probabilities(PRESETS["paper"]) == pytest.approx(
        {"0": 0.5, "1-100": 0, "101-300": 0.5, ">300": 0}, abs=1e-9
    )


def test_two_doubtful_lesions_have_four():
    groups = score_distribution([0.2, 0.5], [50, 250], [0, 0]).group_probabilities(PRESETS["paper"])
    assert groups == pytest.approx({"0": 0.4, "1-100": 0.1, "101-300": 0.5, ">300": 0}, abs=1e-9)
    groups = score_distribution([0.2, 0.5], [60, 250], [0, 0]).group_probabilities(PRESETS["paper"])
    assert groups == pytest.approx({"0": 0.4, "1-100": 0.1, "101-300": 0.4, ">300": 0.1}, abs=1e-9)


def test_nothing_is_surely_nothing():
    for found in (score_distribution([], [], []), score_distribution([0.9], [0.0], [0.0])):
        assert found.interval() == (0, 0)
        assert found.group_probabilities(PRESETS["five"])["0"] == 1


def test_lesions_that_are_no_candidate_come_as_a_poisson_process():
    found = score_distribution([], [], [], missed=0.3, missed_score=40)
    assert found.mass[0] == pytest.approx(np.exp(-0.3))
    assert mean_of(found) == pytest.approx(12, rel=0.01)


@pytest.mark.parametrize("preset", PRESETS)
def test_groups_sum_to_one(preset):
    rng = np.random.default_rng(7)
    score = rng.exponential(60, 40)
    found = score_distribution(rng.random(40), score, 0.1 * score, missed=0.1, missed_score=30)
    chances = found.group_probabilities(PRESETS[preset])
    assert sum(chances.values()) == pytest.approx(1, abs=1e-9)
    assert min(chances.values()) >= 0
    assert tuple(chances) == PRESETS[preset].labels


def test_a_more_probable_lesion_never_lowers_the_score():
    before = None
    for chance in np.linspace(0, 1, 11):
        found = score_distribution([0.6, chance], [80, 120], [4, 6])
        quantiles = [found.quantile(level) for level in (0.05, 0.3, 0.5, 0.8, 0.95)]
        assert before is None or all(new >= old for new, old in zip(quantiles, before, strict=True))
        before = quantiles


def test_it_agrees_with_random_draws():
    rng = np.random.default_rng(3)
    chance, score = rng.random(12), rng.exponential(70, 12) + 1
    sd = np.sqrt(0.5 * score + (0.1 * score) ** 2)
    found = score_distribution(chance, score, sd, missed=0.2, missed_score=40)
    width = np.sqrt(np.log1p((sd / score) ** 2))
    draws = np.exp(rng.normal(np.log(score) - width**2 / 2, width, (100_000, 12)))
    total = (draws * (rng.random(draws.shape) < chance)).sum(axis=1)
    count = rng.poisson(0.2, len(total))
    total += np.where(count, rng.gamma(np.maximum(count, 1), 40), 0)
    for level in (0.05, 0.5, 0.95):
        assert found.quantile(level) == pytest.approx(np.quantile(total, level), rel=0.02)


def test_it_is_the_same_each_time_and_has_no_holes_with_many_candidates():
    score = np.linspace(1, 400, 300)
    one, two = (score_distribution(np.full(300, 0.02), score, 0.1 * score) for _ in range(2))
    assert np.array_equal(one.mass, two.mass)
    assert mean_of(one) == pytest.approx(0.02 * score.sum(), rel=0.03)
    assert one.mass[0] == pytest.approx(0.98**300)


def test_the_fewest_groups_that_hold_nine_tenths():
    assert likely_groups({"0": 0.95, "1-100": 0.05}) == ("0",)
    assert likely_groups({"0": 0.2, "1-100": 0.05, "101-300": 0.75}) == ("0", "101-300")
    assert likely_groups({"0": 0.3, "1-100": 0.3, "101-300": 0.4}) == ("0", "1-100", "101-300")
