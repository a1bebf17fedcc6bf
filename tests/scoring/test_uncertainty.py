"""How sure a score is: candidates of a made scan, with a calibration whose answer is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from coronet.inference.predict import calcium_above_threshold, calcium_candidates
from coronet.io.volume import Volume, grid_affine
from coronet.scoring.calcium_score import score_calcium
from coronet.scoring.protocol import PROTOCOLS
from coronet.scoring.uncertainty import candidate_scores, score_uncertainty
from made_chests import SURE

BOXES = (((4, 4, 3), 450, 0.9), ((12, 4, 3), 300, 0.7), ((4, 14, 2), 260, 0.2), ((14, 14, 1), 180, 0.02))
"""Place, HU and network's probability of cubes of 3 voxels; the last is no candidate."""


@pytest.fixture(scope="module")
def scan() -> tuple[Volume, np.ndarray]:
    array = np.full((24, 24, 8), 40, np.int16)
    probability = np.full(array.shape, 0.01, np.float32)
    for start, hu, chance in BOXES:
        box = tuple(slice(at, at + 3) for at in start)
        array[box], probability[box] = hu, chance
    return Volume(array, grid_affine((1.0, 1.0, 3.0), (0, 0, 0))), probability


@pytest.fixture(scope="module")
def candidates(scan):
    return calcium_candidates(scan[1], scan[0], 0.5)


def found_in(scan, candidates, calibration, **rules):
    result = score_calcium(scan[0], candidates.mask(scan[0].shape), **rules)
    return result, score_uncertainty(scan[0], candidates, calibration, result)


def test_what_the_network_doubts_is_a_candidate_and_what_it_excludes_is_none(scan, candidates):
    assert candidates.network == pytest.approx([0.9, 0.2, 0.7])
    assert candidates.counted.tolist() == [True, False, True]
    mask = candidates.mask(scan[0].shape)
    assert np.array_equal(mask, calcium_above_threshold(scan[1], scan[0], 0.5))
    assert mask.sum() == 54


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("method", ["agatston", "volume_weighted"])
def test_candidates_that_count_add_up_to_the_score(scan, candidates, protocol, method):
    result, _ = found_in(scan, candidates, SURE, protocol=PROTOCOLS[protocol], method=method)
    scores = candidate_scores(scan[0], candidates, PROTOCOLS[protocol], method=method)
    assert scores[candidates.counted].sum() == pytest.approx(result.scores.of(method))


def test_sure_candidates_are_all_of_them(scan, candidates):
    _, found = found_in(scan, candidates, SURE)
    total = 9 * 3 * (4 + 3 + 2)
    assert (found.low, found.median, found.high) == pytest.approx((total,) * 3, rel=1e-3)
    assert found.groups["paper"]["101-300"] == pytest.approx(1)
    assert found.sure("paper")
    assert found.lesions == pytest.approx((1, 1), abs=1e-6)


def test_probabilities_go_to_lesions_in_the_order_of_the_score(scan, candidates):
    plain = dataclasses.replace(SURE, intercept=0.0, slope=1.0)
    result, found = found_in(scan, candidates, plain)
    assert [lesion.peak_hu for lesion in result.lesions] == [450, 300]
    assert found.lesions == pytest.approx((0.9, 0.7))
    (doubted,) = found.doubted
    assert (doubted.probability, doubted.agatston) == pytest.approx((0.2, 54))
    assert doubted.slices == (2, 4)
    assert found.groups["paper"]["0"] == pytest.approx(0.1 * 0.3 * 0.8)
    assert found.groups["paper"][">300"] == 0
    assert set(found.likely["paper"]) <= set(found.groups["paper"])


def test_plain_values_hold_no_more_than_was_found(scan, candidates):
    answer = found_in(scan, candidates, dataclasses.replace(SURE, intercept=0.0, slope=1.0))[1].to_json()
    assert answer["low"] <= answer["median"] <= answer["high"]
    assert answer["level"] == 0.9
    for groups in answer["groups"].values():
        assert sum(groups.values()) == pytest.approx(1, abs=1e-3)


def test_volume_takes_the_agatston_score(scan, candidates):
    assert found_in(scan, candidates, SURE, method="volume")[1].method == "agatston"
    weighted = found_in(scan, candidates, SURE, method="volume_weighted")[1]
    assert weighted.median == pytest.approx(27 * 3 * (4 + 3 + 2), rel=1e-3)


def test_a_scan_without_candidates_may_still_hold_calcium(scan):
    nothing = calcium_candidates(np.zeros_like(scan[1]), scan[0], 0.5)
    missed = dataclasses.replace(SURE, missed_per_scan=0.2, missed_score=30.0)
    _, found = found_in(scan, nothing, missed)
    assert found.groups["paper"]["0"] == pytest.approx(np.exp(-0.2))
    assert (found.lesions, found.doubted) == ((), ())
    assert found_in(scan, nothing, SURE)[1].groups["paper"]["0"] == 1


def test_a_score_that_contradicts_its_own_distribution_is_doubtful(scan, candidates):
    _, sure = found_in(scan, candidates, SURE)
    assert sure.contradiction(243.0) == ""
    assert "score 0.0 lies outside of its own 90% interval, 242.9 to 243.1" in sure.contradiction(0.0)
    assert "score 400.0 lies outside" in sure.contradiction(400.0)


@pytest.mark.parametrize(("missed", "reason"), [(0.05, ""), (0.6, ""), (0.8, "has a probability of 55%")])
def test_a_zero_is_doubtful_where_a_score_above_it_is_likelier(scan, missed, reason):
    nothing = calcium_candidates(np.zeros_like(scan[1]), scan[0], 0.5)
    calibration = dataclasses.replace(SURE, missed_per_scan=missed, missed_score=30.0)
    found = found_in(scan, nothing, calibration)[1].contradiction(0.0)
    assert reason in found and bool(found) == bool(reason)
