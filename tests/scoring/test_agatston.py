"""The calculator against hand-made volumes and against identities that any right score obeys."""

from __future__ import annotations

import dataclasses
import json

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coronet.errors import InputError, ParamsError
from coronet.io.volume import Volume, grid_affine, to_ras
from coronet.scoring.calcium_score import VESSELS, score_calcium
from coronet.scoring.protocol import PROTOCOLS, Protocol, find_protocol

OURS = PROTOCOLS["coronet"]


def scan(spacing=(0.5, 0.5, 3.0), shape=(24, 24, 6), background=40.0) -> Volume:
    return Volume(np.full(shape, background, dtype=np.float32), grid_affine(spacing, (0.0, 0.0, 0.0)))


def agatston(ct: Volume, protocol: Protocol = OURS) -> float:
    return score_calcium(ct, ct.array >= 100, protocol=protocol).scores.agatston


def block(ct: Volume, x: int, y: int, z: int, hu: float, *, size=(2, 2)) -> None:
    ct.array[x : x + size[0], y : y + size[1], z] = hu


def one_lesion() -> Volume:
    ct = scan()
    block(ct, 3, 3, 1, 250, size=(4, 4))
    return ct


def under_and_at_the_threshold() -> Volume:
    ct = scan()
    block(ct, 2, 2, 1, 129, size=(3, 3))
    block(ct, 10, 10, 1, 130, size=(3, 3))
    return ct


def all_weights() -> Volume:
    ct = scan(spacing=(1.0, 1.0, 3.0), shape=(40, 8, 3))
    for number, peak in enumerate((199, 200, 299, 300, 399, 400, 1000, 131)):
        block(ct, 1 + 4 * number, 2, 1, 130)
        ct.array[1 + 4 * number, 2, 1] = peak
    return ct


def too_small() -> Volume:
    ct = scan()
    block(ct, 2, 2, 1, 450, size=(3, 1))
    block(ct, 10, 10, 1, 450)
    return ct


def corner() -> Volume:
    ct = scan(spacing=(1.0, 1.0, 3.0))
    block(ct, 2, 2, 1, 150)
    block(ct, 4, 4, 1, 350)
    return ct


def three_slices() -> Volume:
    ct = scan()
    block(ct, 2, 2, 1, 180, size=(4, 4))
    block(ct, 2, 2, 2, 420, size=(4, 4))
    block(ct, 2, 2, 3, 260, size=(3, 3))
    return ct


def thin_slices() -> Volume:
    ct = scan(spacing=(1.0, 1.0, 1.5))
    block(ct, 2, 2, 1, 410)
    block(ct, 2, 2, 2, 410)
    return ct


def specks() -> Volume:
    ct = scan(spacing=(0.7, 0.7, 3.0))
    for place in (2, 6, 10, 14):
        ct.array[place, place, 1] = 500
    return ct


@pytest.mark.parametrize(
    ("make", "eight", "four"),
    [
        (one_lesion, 8.0, 8.0),
        (under_and_at_the_threshold, 2.25, 2.25),
        (all_weights, 80.0, 80.0),
        (too_small, 4.0, 4.0),
        (corner, 24.0, 16.0),
        (three_slices, 24.5, 24.5),
        (thin_slices, 16.0, 16.0),
        (specks, 0.0, 0.0),
    ],
)
def test_hand_made_volumes(make, eight, four):
    ct = make()
    assert agatston(ct) == pytest.approx(eight, abs=1e-9)
    assert agatston(ct, dataclasses.replace(OURS, connectivity=4)) == pytest.approx(four, abs=1e-9)


def test_the_worked_example_of_the_documentation():
    ct = scan()
    block(ct, 2, 2, 1, 170, size=(4, 4))
    ct.array[3, 3, 1] = 250
    block(ct, 2, 2, 2, 180, size=(3, 3))
    block(ct, 12, 12, 2, 450, size=(3, 1))
    scores = score_calcium(ct, ct.array >= 130).scores
    assert scores.agatston == pytest.approx(10.25)
    assert scores.volume_mm3 == pytest.approx(21.0)
    assert scores.volume_weighted == pytest.approx(46.5)
    thin = Volume(ct.array, grid_affine((0.5, 0.5, 1.5), (0, 0, 0)))
    assert agatston(thin) == pytest.approx(5.125)


def test_overlapping_slices_count_by_spacing_and_not_by_thickness():
    ct = thin_slices()
    mask = ct.array >= 130
    ours = score_calcium(ct, mask, slice_thickness_mm=3.0)
    theirs = score_calcium(
        ct, mask, protocol=dataclasses.replace(OURS, slice_factor="thickness"), slice_thickness_mm=3.0
    )
    assert ours.scores.agatston == pytest.approx(16)
    assert theirs.scores.agatston == pytest.approx(32)


def test_a_peak_between_whole_numbers_has_the_weight_below():
    ct = scan(spacing=(1.0, 1.0, 3.0))
    block(ct, 2, 2, 1, 199.5)
    block(ct, 8, 8, 1, 129.9)
    assert agatston(ct) == pytest.approx(4)


def test_volume_mass_and_weighted_volume():
    ct = scan(spacing=(0.5, 0.5, 0.5))
    block(ct, 2, 2, 1, 400, size=(4, 2))
    block(ct, 2, 2, 2, 400, size=(4, 2))
    result = score_calcium(ct, ct.array >= 130, calibration_factor=0.00075)
    assert result.scores.agatston == pytest.approx(16 * 0.5 / 3)
    assert result.scores.volume_mm3 == pytest.approx(2)
    assert result.scores.volume_weighted == pytest.approx(8)
    assert result.scores.mass_mg == pytest.approx(0.6)
    assert score_calcium(ct, ct.array >= 130, protocol=PROTOCOLS["molloi"]).scores.agatston == pytest.approx(
        16
    )


def test_known_scores_with_and_without_a_minimum_area():
    # 14 voxels of 0.75 × 0.75 × 2 mm: one component of 12, and two lone voxels of 0.56 mm² each.
    ct = scan(spacing=(0.75, 0.75, 2.0), shape=(20, 20, 20))
    ct.array[3:15, 4, 5] = 170
    ct.array[3, 4, 5] = ct.array[3, 12, 5] = ct.array[3, 12, 9] = 400
    free = score_calcium(
        ct, ct.array >= 130, protocol=dataclasses.replace(OURS, least_area_mm2=0.0), calibration_factor=0.001
    )
    assert free.scores.agatston == pytest.approx(21)
    assert free.scores.volume_mm3 == pytest.approx(15.75)
    assert free.scores.mass_mg == pytest.approx(3.45375)
    assert agatston(ct) == pytest.approx(18)


def test_a_lesion_says_where_it_is_and_what_it_gives():
    ct = one_lesion()
    block(ct, 15, 15, 4, 900, size=(1, 1))
    result = score_calcium(ct, ct.array >= 130)
    first, speck = result.lesions
    assert (first.number, first.voxels, first.peak_hu, first.weight, first.vessel) == (
        1,
        16,
        250.0,
        2.0,
        None,
    )
    assert first.agatston == pytest.approx(8)
    assert first.centre_mm == pytest.approx((2.25, 2.25, 3.0))
    assert first.slices == (1, 1)
    assert (speck.number, speck.agatston, speck.voxels) == (2, 0.0, 1)


def test_vessels_share_the_score_and_never_change_it():
    ct = one_lesion()
    block(ct, 15, 15, 4, 450, size=(4, 4))
    mask = (ct.array >= 130).astype(np.uint8)
    mask[5:7, :, 1] *= 2
    mask[:, :, 4] *= 4
    result = score_calcium(ct, mask, vessels=VESSELS)
    assert result.scores.agatston == pytest.approx(score_calcium(ct, mask > 0).scores.agatston)
    assert result.vessels == pytest.approx({"LM": 4.0, "LAD": 4.0, "LCX": 0.0, "RCA": 16.0})
    assert [lesion.vessel for lesion in result.lesions] == ["RCA", "LM"]
    assert result.groups["cac-drs"] == "A1/N3"
    with pytest.raises(InputError, match="label 4 is not a vessel"):
        score_calcium(ct, mask, vessels={1: "LM", 2: "LAD"})


def test_the_answer_is_one_plain_object():
    ct = three_slices()
    answer = score_calcium(ct, ct.array >= 130, calibration_factor=0.001).to_json(source={"source": "nifti"})
    assert set(answer) == {
        "scores",
        "groups",
        "vessels",
        "lesions",
        "uncertainty",
        "protocol",
        "models",
        "input",
    }
    assert set(answer["scores"]) == {"agatston", "volume_weighted", "volume_mm3", "mass_mg"}
    assert answer["groups"] == {"paper": "1-100", "aha": "1-99", "five": "11-100", "cac-drs": "A1"}
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer


def test_presets_reproduce_what_each_system_does():
    # 0.68 × 0.68 × 2.5 mm: a 2 × 2 block of 250 HU with a rim voxel of 100 HU, a 3-voxel speck, and in the
    # next slice a dimmer part of the block's lesion.
    ct = scan(spacing=(0.68, 0.68, 2.5))
    block(ct, 2, 2, 1, 250)
    ct.array[4, 2, 1] = 100
    block(ct, 12, 12, 1, 150, size=(3, 1))
    block(ct, 2, 2, 2, 160)
    mask = ct.array >= 100
    area, voxel = 0.68**2, round(0.68 * 0.68 * 2.5 / 3, 3)
    expected = {
        "coronet": (4 * 2 + 4 * 1 + 3) * area * 2.5 / 3,
        "deepcac": 5 * 2 * voxel + 4 * voxel,
        "ai-cac": round(9 * area * 5 / 3 * 2) + round(3 * area * 5 / 3),
        "orcascore": (4 * 2 + 4 * 1 + 3) * area * 2.5 / 3,
        "molloi": (4 * 2 + 4 * 1 + 3) * area,
    }
    for name, value in expected.items():
        found = score_calcium(ct, mask, protocol=PROTOCOLS[name], slice_thickness_mm=5.0).scores.agatston
        assert found == pytest.approx(value), name


def test_the_threshold_itself_counts_here_and_not_there():
    ct = scan(spacing=(1.0, 1.0, 3.0))
    block(ct, 2, 2, 1, 130)
    block(ct, 8, 8, 1, 129)
    scores = {name: agatston(ct, protocol) for name, protocol in PROTOCOLS.items()}
    assert scores == pytest.approx({"coronet": 4, "deepcac": 4, "ai-cac": 4, "orcascore": 0, "molloi": 8})


def test_an_empty_mask_scores_nothing():
    result = score_calcium(scan(), np.zeros((24, 24, 6), np.uint8), calibration_factor=0.001)
    assert dataclasses.asdict(result.scores) == {
        "agatston": 0.0,
        "volume_weighted": 0.0,
        "volume_mm3": 0.0,
        "mass_mg": 0.0,
    }
    assert result.lesions == ()


def test_what_cannot_be_scored_is_refused():
    ct = one_lesion()
    mask = ct.array >= 130
    with pytest.raises(InputError, match="shape"):
        score_calcium(ct, mask[:-1])
    with pytest.raises(InputError, match="labels"):
        score_calcium(ct, mask.astype(np.float32))
    with pytest.raises(ParamsError, match="calibration"):
        score_calcium(ct, mask, method="mass")
    with pytest.raises(InputError, match="above 0"):
        score_calcium(ct, mask, calibration_factor=-1.0)
    with pytest.raises(ParamsError, match='"coronet"'):
        find_protocol("coronett")
    with pytest.raises(ParamsError, match="connectivity"):
        dataclasses.replace(OURS, connectivity=26)
    ct.array[3, 3, 1] = np.nan
    with pytest.raises(InputError, match="no numbers"):
        score_calcium(ct, mask)


hu_volumes = arrays.arrays(
    np.int16,
    arrays.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=7),
    elements=st.sampled_from([40, 129, 130, 150, 199, 200, 299, 300, 399, 400, 1000]),
)
spacings = st.tuples(*[st.floats(0.3, 3.0)] * 3)


@given(hu_volumes, spacings, st.lists(st.integers(0, 2), unique=True))
@settings(deadline=None)
def test_flips_change_nothing(array, spacing, axes):
    ct = Volume(array, grid_affine(spacing, (0, 0, 0)))
    turned = ct.with_array(np.flip(array, axes))
    for protocol in PROTOCOLS.values():
        one = score_calcium(ct, array > 50, protocol=protocol).scores
        other = score_calcium(turned, turned.array > 50, protocol=protocol).scores
        assert dataclasses.astuple(one)[:3] == pytest.approx(dataclasses.astuple(other)[:3])


@given(hu_volumes, spacings, st.permutations(range(3)), st.lists(st.integers(0, 2), unique=True))
@settings(deadline=None)
def test_the_stored_order_of_the_axes_changes_nothing(array, spacing, order, flipped):
    ct = Volume(array, grid_affine(spacing, (10, 20, 30)))
    turn = np.eye(4)[:, [*order, 3]]
    stored = np.transpose(array, order)
    affine = ct.affine @ turn
    for axis in flipped:
        stored = np.flip(stored, axis)
        flip = np.eye(4)
        flip[axis, axis], flip[axis, 3] = -1, stored.shape[axis] - 1
        affine = affine @ flip
    again = to_ras(stored, affine)
    one, other = score_calcium(ct, ct.array > 50), score_calcium(again, again.array > 50)
    assert one.scores.agatston == pytest.approx(other.scores.agatston)
    assert [lesion.centre_mm for lesion in one.lesions] == [
        pytest.approx(lesion.centre_mm) for lesion in other.lesions
    ]


@given(hu_volumes, spacings)
@settings(deadline=None)
def test_the_score_doubles_with_the_slice_spacing(array, spacing):
    ct = Volume(array, grid_affine(spacing, (0, 0, 0)))
    far = Volume(array, grid_affine((*spacing[:2], 2 * spacing[2]), (0, 0, 0)))
    assert agatston(far) == pytest.approx(2 * agatston(ct))


@given(hu_volumes, spacings)
@settings(deadline=None)
def test_masked_voxels_under_the_threshold_change_nothing(array, spacing):
    ct = Volume(array, grid_affine(spacing, (0, 0, 0)))
    everything = score_calcium(ct, np.ones(array.shape, bool))
    exact = score_calcium(ct, array >= 130)
    assert everything.scores == exact.scores
    assert everything.lesions == exact.lesions


@given(hu_volumes, spacings)
@settings(deadline=None)
def test_components_that_do_not_touch_add_up(array, spacing):
    ct = Volume(np.concatenate([array, np.full_like(array[:1], 40), array]), grid_affine(spacing, (0, 0, 0)))
    half = Volume(array, ct.affine)
    for protocol in PROTOCOLS.values():
        whole = score_calcium(ct, ct.array > 50, protocol=protocol).scores
        part = score_calcium(half, array > 50, protocol=protocol).scores
        assert dataclasses.astuple(whole)[:3] == pytest.approx([2 * v for v in dataclasses.astuple(part)[:3]])


@given(hu_volumes, spacings)
@settings(deadline=None)
def test_lesions_add_up_to_the_score(array, spacing):
    ct = Volume(array, grid_affine(spacing, (0, 0, 0)))
    labels = np.where(array >= 130, 1 + np.arange(array.size).reshape(array.shape) % 4, 0).astype(np.uint8)
    for protocol in PROTOCOLS.values():
        result = score_calcium(ct, labels, protocol=protocol, calibration_factor=0.001, vessels=VESSELS)
        lesions = result.lesions
        assert sum(lesion.agatston for lesion in lesions) == pytest.approx(result.scores.agatston)
        assert sum(result.vessels.values()) == pytest.approx(result.scores.agatston)
        assert sum(lesion.volume_mm3 for lesion in lesions) == pytest.approx(result.scores.volume_mm3)
        assert sum(lesion.mass_mg for lesion in lesions) == pytest.approx(result.scores.mass_mg)
        assert sum(lesion.volume_mm3 * lesion.weight for lesion in lesions) == pytest.approx(
            result.scores.volume_weighted
        )
