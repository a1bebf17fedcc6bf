"""Resampling: what must stay where it is, and what must stay as much as it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from coronet.imaging.resampling import (
    axis_weights,
    box_grid,
    centred_grid,
    clean_hu,
    crop_grid,
    grid_of,
    mask_box,
    regrid,
    widen,
)
from coronet.io.volume import AIR_HU, Volume, grid_affine


def ramp(shape=(20, 24, 16), spacing=(1.0, 1.5, 2.0)) -> Volume:
    """Values that equal the position in mm along a slanted direction."""
    affine = grid_affine(spacing, (-10.0, 5.0, 100.0))
    places = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    millimetres = places * spacing + affine[:3, 3]
    return Volume((millimetres @ [1.0, 2.0, -0.5]).astype(np.float32), affine)


def respaced(volume: Volume, spacing, *, fill: float = 0.0) -> Volume:
    """The same field of view at another spacing."""
    target = centred_grid(grid_of(volume), spacing)
    return Volume(regrid(volume, target, fill=fill), target.affine)


def value_at(affine: np.ndarray, index: tuple[int, ...]) -> float:
    return float((affine @ [*index, 1.0])[:3] @ [1.0, 2.0, -0.5])


@pytest.mark.parametrize("spacing", [(0.5, 0.5, 0.5), (1.0, 1.5, 2.0), (3.0, 4.0, 2.5)])
def test_a_linear_image_keeps_its_values_at_every_place(spacing):
    moved = respaced(ramp(), spacing)
    middle = tuple(n // 2 for n in moved.shape)
    assert moved.array[middle] == pytest.approx(value_at(moved.affine, middle), abs=1e-3)


def test_the_same_grid_gives_the_same_values():
    volume = ramp()
    assert np.allclose(regrid(volume, grid_of(volume)), volume.array, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(ratio=st.floats(0.3, 9.0), start=st.floats(-3, 3), source=st.integers(3, 40))
def test_weights_inside_sum_to_one_and_never_exceed_it(ratio, start, source):
    weights = axis_weights(source, 12, start=start, ratio=ratio)
    assert (weights >= 0).all()
    sums = weights.sum(axis=1)
    assert (sums <= 1 + 1e-5).all()
    centre = start + ratio * np.arange(12)
    reach = 1 + np.sqrt(max(ratio**2 - 1, 0)) / 2
    inside = (centre - reach > 0) & (centre + reach < source - 1)
    assert np.allclose(sums[inside], 1, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(factor=st.floats(1.5, 6.0), seed=st.integers(0, 99))
def test_a_mask_keeps_its_volume_when_it_is_coarsened(factor, seed):
    rng = np.random.default_rng(seed)
    mask = np.zeros((36, 36, 36), np.uint8)
    low = rng.integers(10, 14, 3)
    high = rng.integers(20, 26, 3)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = 1
    volume = Volume(mask, grid_affine((1.0, 1.0, 1.0), (0.0, 0.0, 0.0)))
    coarse = respaced(volume, (factor,) * 3)
    assert coarse.array.sum() * coarse.voxel_mm3 == pytest.approx(mask.sum(), rel=0.12)


def test_fine_stripes_become_their_mean_and_not_a_pattern():
    stripes = np.zeros((64, 8, 8), np.float32)
    stripes[::2] = 100
    coarse = respaced(Volume(stripes, grid_affine((1, 1, 1), (0, 0, 0))), (8.0, 1.0, 1.0), fill=50)
    assert np.ptp(coarse.array[1:-1, 2:-2, 2:-2]) < 2


def test_outside_is_air():
    volume = Volume(np.full((8, 8, 8), 40, np.int16), grid_affine((1, 1, 1), (0, 0, 0)))
    target = crop_grid(grid_of(volume), (-20, 0, 0), (-10, 8, 8))
    assert (regrid(volume, target, fill=AIR_HU) == AIR_HU).all()


def test_padding_below_air_becomes_air():
    volume = Volume(np.array([[[-3024, -1024, 30]]], np.int16), np.eye(4))
    assert clean_hu(volume).array.tolist() == [[[-1024, -1024, 30]]]


def test_there_and_back_leaves_a_ball_where_it_was():
    places = np.stack(np.meshgrid(*[np.arange(80.0)] * 3, indexing="ij"), axis=-1)
    ball = np.linalg.norm(places - [38, 43, 40], axis=-1) < 28
    volume = Volume(ball.astype(np.uint8), grid_affine((1, 1, 1), (0, 0, 0)))
    coarse = respaced(volume, (5.0, 5.0, 5.0))
    back = regrid(coarse, grid_of(volume)) >= 0.5
    assert 2 * (back & ball).sum() / (back.sum() + ball.sum()) > 0.97


def test_a_tilted_grid_is_resampled_too():
    volume = ramp((30, 30, 30), (1.0, 1.0, 1.0))
    turn = np.deg2rad(10)
    rotation = np.eye(4)
    rotation[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    rotation[:3, 3] = volume.affine[:3, 3] + [8, 4, 6]
    target = Volume(np.zeros((8, 8, 8)), rotation)
    moved = regrid(volume, grid_of(target))
    assert moved[4, 4, 4] == pytest.approx(value_at(rotation, (4, 4, 4)), abs=1e-3)


def test_boxes_hold_the_last_voxel_and_stay_inside():
    mask = np.zeros((10, 10, 10), bool)
    mask[2:5, 0, 9] = True
    low, high = mask_box(mask, (1, 1, 1))
    assert low.tolist() == [1, 0, 8]
    assert high.tolist() == [6, 2, 10]
    assert mask_box(np.zeros((3, 3, 3), bool), (0, 0, 0)) is None


@settings(max_examples=25, deadline=None)
@given(
    margin=st.sampled_from([0.0, 1.4, 2.1, 6.0, 7.5]),
    spacing=st.tuples(*[st.sampled_from([0.7, 1.0, 2.5])] * 3),
    seed=st.integers(0, 99),
)
def test_a_widened_mask_is_the_distance_map_cut_at_the_margin(margin, spacing, seed):
    mask = np.random.default_rng(seed).random((14, 17, 9)) > 0.995
    mask[seed % 14, 3, 2] = True
    distance = distance_transform_edt(~mask, sampling=spacing)
    assert np.array_equal(widen(mask, margin, spacing), distance <= margin + 1e-5)


def test_a_box_grid_covers_its_box():
    grid = grid_of(ramp())
    box = box_grid(grid, (2, 3, 4), (12, 13, 14), (0.7, 0.7, 2.5))
    covered = np.asarray(box.shape) * box.spacing_mm
    assert (covered >= np.asarray((10, 10, 10)) * grid.spacing_mm - 1e-6).all()
    assert centred_grid(grid, (0.7, 0.7, 2.5)).spacing_mm == pytest.approx((0.7, 0.7, 2.5))
