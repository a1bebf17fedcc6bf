"""Overlap and lesions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coronet.imaging.mask_metrics import Overlap, dice, match_lesions, overlap, summarise_metrics


@given(st.integers(0, 999), st.integers(0, 999), st.integers(0, 999))
def test_f1_is_dice_and_never_below_iou(both, predicted_only, true_only):
    counts = Overlap(both, predicted_only, true_only)
    if counts.iou is None:
        assert counts.f1 is None
    else:
        assert counts.f1 == counts.dice
        assert counts.f1 >= counts.iou
        assert counts.f1 == pytest.approx(2 * counts.iou / (1 + counts.iou))


@given(st.lists(st.tuples(*[st.integers(0, 50)] * 3), min_size=2, max_size=6))
def test_no_mean_of_f1_lies_below_the_mean_of_iou(cases):
    counts = [Overlap(*case) for case in cases]
    means = [summarise_metrics(getattr(count, name) for count in counts).mean for name in ("f1", "iou")]
    assert means == [None, None] or means[0] >= means[1]


def test_two_empty_masks_measure_nothing():
    empty, full = np.zeros((3, 3, 3)), np.ones((3, 3, 3))
    assert dice(empty, empty) is overlap(empty, empty).iou is None
    assert dice(full, empty) == dice(empty, full) == 0
    assert overlap(full, full) == Overlap(27, 0, 0)


def test_an_average_says_what_it_rests_on():
    summary = summarise_metrics([0.5, None, 1.0, None])
    assert (summary.mean, summary.median, summary.lowest) == (0.75, 0.75, 0.5)
    assert (summary.cases, summary.empty) == (2, 2)
    assert summarise_metrics([None]).mean is None


def test_lesions_are_matched_by_touch():
    truth, predicted = np.zeros((2, 12, 12, 6), np.uint8)
    truth[1:3, 1:3, 1] = 1
    truth[6:8, 6:8, 1:4] = 2
    truth[10, 1, 1] = 1
    predicted[2, 2, 1] = 1
    predicted[7:9, 7:9, 3:5] = 1
    predicted[1, 10, 5] = 1
    match = match_lesions(truth, predicted)
    assert (match.true, match.found, match.predicted, match.false) == (3, 2, 3, 1)
    assert match.sensitivity == pytest.approx(2 / 3)
    assert match.f1 == pytest.approx(2 * 2 / 6)


def test_corners_touch_and_one_found_for_two_counts_twice():
    truth, predicted = np.zeros((2, 8, 8, 8), bool)
    truth[1, 1, 1] = truth[2, 2, 2] = True
    assert match_lesions(truth, predicted).true == 1
    truth[5, 5, 5] = True
    predicted[1:6, 1:6, 1:6] = True
    match = match_lesions(truth, predicted)
    assert (match.true, match.found, match.predicted, match.false) == (2, 2, 1, 0)


def test_nothing_and_nothing_matches():
    empty = np.zeros((4, 4, 4))
    assert match_lesions(empty, empty).sensitivity is None
    assert match_lesions(empty, empty).f1 is None
