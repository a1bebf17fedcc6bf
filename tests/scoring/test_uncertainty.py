"""How a score moves with the threshold and the place of the mask."""

from __future__ import annotations

import numpy as np
import pytest

from coronet.errors import InputError
from coronet.io.volume import Volume, grid_affine
from coronet.scoring.calcium_score import score_calcium
from coronet.scoring.uncertainty import score_intervals


def nested(side: int = 8) -> tuple[Volume, np.ndarray]:
    """A square of 450 HU in two slices, with a probability that falls towards its rim."""
    array = np.full((24, 24, 8), 40, np.int16)
    probability = np.zeros(array.shape, np.float32)
    for inset, value in enumerate((0.55, 0.85, 0.97, 1.0)):
        part = slice(6 + inset, 6 + side - inset)
        array[part, part, 3:5] = 450
        probability[part, part, 3:5] = value
    return Volume(array, grid_affine((1.0, 1.0, 3.0), (0, 0, 0))), probability


def test_the_threshold_moves_the_score_and_the_groups():
    ct, probability = nested()
    mask = probability >= 0.5
    result = score_calcium(ct, mask)
    found = score_intervals(ct, mask, result, probability=probability)
    assert result.scores.agatston == pytest.approx(2 * 64 * 4)
    assert found.at_threshold[0] == (0.5, pytest.approx(512))
    assert found.at_threshold[-1] == (0.99, pytest.approx(2 * 4 * 4))
    assert (found.low, found.high) == (pytest.approx(32), pytest.approx(512))
    assert found.groups["paper"] == ("1-100", "101-300", ">300")
    assert not found.sure("paper")


def test_a_shift_by_one_voxel_loses_what_it_uncovers():
    ct, probability = nested()
    mask = probability >= 0.5
    found = score_intervals(ct, mask, score_calcium(ct, mask))
    assert found.at_threshold == ()
    assert sorted(found.at_shift) == pytest.approx([256, 256, 448, 448, 448, 448])
    answer = found.to_json()
    assert answer["threshold"] is None
    assert (answer["low"], answer["high"]) == (pytest.approx(256), pytest.approx(512))
    assert answer["sure"]["aha"] is False
    assert answer["groups"]["aha"] == ["100-399", ">=400"]


def test_a_mask_at_the_scans_edge_does_not_wrap_round():
    array = np.full((4, 4, 2), 450, np.int16)
    ct = Volume(array, grid_affine((1.0, 1.0, 3.0), (0, 0, 0)))
    mask = np.zeros(array.shape, bool)
    mask[0] = True
    found = score_intervals(ct, mask, score_calcium(ct, mask))
    assert min(found.at_shift) == 0


def test_no_calcium_is_surely_none_without_a_probability():
    ct, _ = nested()
    empty = np.zeros(ct.shape, bool)
    found = score_intervals(ct, empty, score_calcium(ct, empty))
    assert (found.low, found.high) == (0, 0)
    assert all(found.sure(preset) for preset in found.groups)


def test_a_probability_of_another_shape_is_refused():
    ct, probability = nested()
    mask = probability > 0.5
    with pytest.raises(InputError, match="probability map"):
        score_intervals(ct, mask, score_calcium(ct, mask), probability=probability[1:])
