"""The simulated scanner: deposits keep their substance, noise has its strength, padding as stored."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from coronet.imaging.filters import gaussian_taps, in_plane
from coronet.io.volume import grid_affine
from coronet.phantom.acquisition_protocols import SCANNER_KERNELS, SERIES, ScanSettings, draw_settings
from coronet.phantom.deposits import Deposit, share_of_voxels, true_volume_mm3
from coronet.phantom.random_draws import generator
from coronet.phantom.scanner import point_spread, scan

HEART = (slice(40, 88), slice(40, 88), slice(4, 12))


def settings(**changes) -> ScanSettings:
    plain = ScanSettings(
        kernel=SCANNER_KERNELS["STANDARD"],
        thickness_mm=2.5,
        spacing_mm=(0.7, 0.7, 2.5),
        shape=(128, 128, 16),
        origin_mm=(-44.0, -44.0, -20.0),
        noise_hu=20.0,
        modulation=0.5,
        padding_hu=None,
        offset_hu=0.0,
        cupping_hu=0.0,
        beat=0.0,
    )
    return dataclasses.replace(plain, **changes)


def ball(radius: float, centre=(0.0, 0.0, 0.0), *, hu: float = 500.0, **more) -> Deposit:
    return Deposit(
        "one", "coronary", "LAD", "spot", np.asarray([centre]), np.asarray([radius]), np.asarray([hu]), **more
    )


def water(shape=(128, 128, 16)) -> np.ndarray:
    return np.full(shape[::-1], 40.0, np.float32).T


def test_the_volume_of_a_ball_is_that_of_a_ball():
    assert true_volume_mm3(ball(2.0, edge_mm=0.3)) == pytest.approx(4 / 3 * math.pi * 8, rel=0.03)


@pytest.mark.parametrize("thickness", [2.5, 3.5])
@pytest.mark.parametrize("motion", [(0.0, 0.0, 0.0), (1.5, -0.8, 0.4)])
def test_partial_volume_keeps_the_substance(thickness, motion):
    deposit = ball(2.0, (0.3, -0.2, 0.9), motion_mm=motion)
    share = share_of_voxels(
        deposit,
        grid_affine((0.7, 0.7, 2.5), (-44, -44, -20)),
        (128, 128, 16),
        thickness_mm=thickness,
        margin=3,
    )
    volume = float(share.filled.sum()) * 0.7 * 0.7 * 2.5
    assert volume == pytest.approx(true_volume_mm3(deposit), rel=0.03)
    assert np.allclose(share.substance, share.filled * 500, rtol=1e-4)


def test_a_deposit_outside_the_scan_leaves_no_share():
    far = ball(2.0, (500.0, 0.0, 0.0))
    assert share_of_voxels(far, settings().affine, (128, 128, 16), thickness_mm=2.5, margin=3) is None


def test_a_deposit_is_seen_where_it_lies():
    scanned = scan(
        water(), [ball(3.0, (5.0, -7.0, 2.0))], settings(noise_hu=0.01), heart_box=HEART, rng=generator(1)
    )
    place = np.unravel_index(scanned.volume.array.argmax(), scanned.volume.shape)
    world = scanned.volume.affine @ np.asarray([*place, 1])
    assert np.abs(world[:3] - [5.0, -7.0, 2.0]).max() < 2.6
    assert 450 <= scanned.volume.array.max() <= 505


@pytest.mark.parametrize("kernel", sorted(SCANNER_KERNELS))
def test_blur_keeps_the_sum_and_sharp_kernels_overshoot(kernel):
    taps = point_spread(SCANNER_KERNELS[kernel], 0.7)
    edge = np.zeros((60, 60), np.float32)
    edge[30:] = 1000.0
    blurred = in_plane(edge, taps)
    assert taps[0] + 2 * sum(taps[1:]) == pytest.approx(1.0, abs=1e-6)
    assert (blurred.max() > 1015) == SCANNER_KERNELS[kernel].sharp


@pytest.mark.parametrize("kernel", ["STANDARD", "LUNG"])
@pytest.mark.parametrize("pixel", [0.55, 0.9])
def test_noise_has_the_asked_strength(kernel, pixel):
    chosen = settings(kernel=SCANNER_KERNELS[kernel], noise_hu=30.0, spacing_mm=(pixel, pixel, 2.5))
    hu = scan(water(), [], chosen, heart_box=HEART, rng=generator(2)).volume.array[HEART]
    assert hu.std() == pytest.approx(30.0, rel=0.12)
    assert abs(float(hu.mean()) - 40) < 2


def test_soft_noise_is_correlated_and_sharp_noise_is_not():
    def neighbour(kernel: str) -> float:
        chosen = settings(kernel=SCANNER_KERNELS[kernel], noise_hu=30.0)
        hu = scan(water(), [], chosen, heart_box=HEART, rng=generator(3)).volume.array.astype(float) - 40
        return float((hu[1:] * hu[:-1]).mean() / hu.var())

    assert 0.3 < neighbour("STANDARD") < 0.7
    assert neighbour("LUNG") < 0.3


def test_noise_grows_where_rays_cross_more_tissue():
    hu = water((128, 128, 16))
    hu[:, :64, :] = -1000.0
    hu[:, 64:, 8:] = 900.0
    levels = scan(
        hu, [], settings(modulation=0.0), heart_box=(HEART[0], slice(70, 120), slice(0, 6)), rng=generator(4)
    )
    noise = levels.volume.array.astype(float)
    assert noise[:, 80:120, 11:].std(axis=(0, 1)).mean() > 1.2 * noise[:, 80:120, 2:6].std(axis=(0, 1)).mean()


def test_metal_throws_streaks():
    wire = ball(1.0, hu=6000.0)
    scanned = scan(water(), [wire], settings(noise_hu=0.01), heart_box=HEART, rng=generator(5)).volume.array
    ring = scanned[20:108, 20:108, 8].astype(int)
    assert scanned.max() > 1500
    assert ring.min() < 20
    assert np.ptp(scanned[:, :, 1]) < 5


@pytest.mark.parametrize("padding", [-1024, -2048, -3024])
def test_padding_fills_the_corners_and_nothing_else(padding):
    hu = scan(water(), [], settings(padding_hu=padding), heart_box=HEART, rng=generator(6)).volume.array
    assert hu.dtype == np.int16
    assert (hu[0, 0] == padding).all()
    assert (hu[64, 64] > -300).all()
    assert 0.18 < np.mean(hu == padding) < 0.25


def test_values_fit_twelve_bits():
    hu = water()
    hu[:64] = -1000.0
    scanned = scan(hu, [ball(4.0, hu=9000.0)], settings(noise_hu=40.0), heart_box=HEART, rng=generator(7))
    assert scanned.volume.array.min() >= -1024
    assert scanned.volume.array.max() <= 3071


def test_settings_stay_in_the_ranges_of_screening():
    drawn = [draw_settings(generator(8, i), z_range_mm=(-140.0, 140.0)) for i in range(300)]
    assert all(0.5 <= one.spacing_mm[0] <= 0.98 for one in drawn)
    assert all(1.0 <= one.spacing_mm[2] <= 3.3 for one in drawn)
    assert all(one.thickness_mm >= one.spacing_mm[2] for one in drawn)
    assert {one.kernel.name for one in drawn} == {row[0] for row in SERIES}
    assert {one.padding_hu for one in drawn} == {None, -1024, -2048, -3024}
    soft = [one.noise_hu for one in drawn if not one.kernel.sharp and 2.0 <= one.spacing_mm[2] <= 2.5]
    assert min(soft) >= 12 and max(soft) <= 40


def test_gaussian_taps_are_normalised():
    for sd in (0.0, 0.3, 0.8, 2.0):
        taps = gaussian_taps(sd)
        assert taps[0] + 2 * sum(taps[1:]) == pytest.approx(1.0, abs=1e-7)
