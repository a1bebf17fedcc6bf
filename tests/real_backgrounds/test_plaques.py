"""Deposits in a scan: how wide they are, what they leave alone, and the point spread they are drawn with."""

from __future__ import annotations

import math

import numpy as np
import pytest

from coronet.io.volume import Volume, grid_affine
from coronet.phantom.acquisition_protocols import SCANNER_KERNELS
from coronet.phantom.deposits import Deposit
from coronet.real_backgrounds.plaques import add_plaques
from coronet.real_backgrounds.point_spread import PointSpread, estimate_point_spread

PIXEL = 0.7


def water(rng: np.random.Generator, *, noise_hu: float = 20.0) -> Volume:
    """A block of noisy water."""
    hu = rng.normal(0, noise_hu, (64, 64, 9)).round().astype(np.int16)
    return Volume(np.asfortranarray(hu), grid_affine((PIXEL, PIXEL, 2.5), (0.0, 0.0, 0.0)))


def ball(
    *, hu: float = 900.0, radius: float = 0.6, motion: tuple[float, float, float] = (0, 0, 0)
) -> Deposit:
    return Deposit(
        kind="coronary",
        vessel="LAD",
        shape="spot",
        centres_mm=np.asarray([[22.1, 21.8, 10.0]]),
        radii_mm=np.asarray([radius]),
        hu=np.asarray([hu]),
        edge_mm=0.4,
        name="coronary-01",
        motion_mm=motion,
    )


def width_mm(added: np.ndarray, axis: int) -> float:
    """Standard deviation along an axis of what a deposit adds."""
    line = added.sum(axis=tuple({0, 1, 2} - {axis}))
    place = np.arange(len(line)) * PIXEL
    mean = (line * place).sum() / line.sum()
    return math.sqrt((line * (place - mean) ** 2).sum() / line.sum())


@pytest.mark.parametrize("blur", [0.5, 0.8])
def test_a_small_deposit_is_as_wide_as_the_point_spread(blur):
    ct = water(np.random.default_rng(1), noise_hu=0.0)
    (trace,) = add_plaques(ct, [ball()], PointSpread(blur, 0.0, "default"), thickness_mm=2.5).traces
    expected = math.sqrt(blur**2 + PIXEL**2 / 12 + 0.6**2 / 5)
    assert width_mm(trace.contribution, 0) == pytest.approx(expected, rel=0.08)
    assert width_mm(trace.contribution, 1) == pytest.approx(expected, rel=0.08)


def test_thick_slices_spread_a_deposit_over_neighbours():
    ct = water(np.random.default_rng(1), noise_hu=0.0)
    thin, thick = (
        add_plaques(ct, [ball()], PointSpread(0.6, 0.0, "default"), thickness_mm=mm).traces[0].contribution
        for mm in (2.5, 5.0)
    )
    assert np.count_nonzero(thick.max(axis=(0, 1)) > 5) > np.count_nonzero(thin.max(axis=(0, 1)) > 5)
    assert thick.max() < thin.max()
    assert thick.sum() == pytest.approx(thin.sum(), rel=0.02)


def test_motion_widens_a_deposit_where_it_moves():
    ct, spread = water(np.random.default_rng(1), noise_hu=0.0), PointSpread(0.6, 0.0, "default")
    still, moved = (
        add_plaques(ct, [ball(motion=motion)], spread, thickness_mm=2.5).traces[0].contribution
        for motion in ((0, 0, 0), (1.5, 0, 0))
    )
    assert width_mm(moved, 0) > width_mm(still, 0) + 0.3
    assert width_mm(moved, 1) == pytest.approx(width_mm(still, 1), abs=0.02)


def test_noise_and_all_other_voxels_stay():
    ct, spread = water(np.random.default_rng(2)), PointSpread(0.6, 0.0, "default")
    seen = add_plaques(ct, [ball(radius=1.5)], spread, thickness_mm=2.5)
    (trace,) = seen.traces
    change = seen.volume.array.astype(int) - ct.array
    assert np.abs(change[trace.box] - trace.contribution).max() <= 0.5 + 1e-3
    change[trace.box] = 0
    assert not change.any()
    # the tissue replaced is a smoothed one, so the noise within the plaque is that of the scan
    inside = trace.contribution > 400
    left = (seen.volume.array[trace.box] - trace.clean)[inside]
    assert left.std() > 10


def test_without_deposits_nothing_changes():
    ct = water(np.random.default_rng(3))
    seen = add_plaques(ct, [], PointSpread(0.6, 0.0, "default"), thickness_mm=2.5)
    assert np.array_equal(seen.volume.array, ct.array)


def lung_and_wall(blur_mm: float) -> tuple[Volume, np.ndarray]:
    """A round lung in a wall, painted with a known blur, and a heart far from the edge."""
    from scipy.ndimage import gaussian_filter

    fine = 3
    axis = (np.arange(200 * fine) + 0.5) / fine - 100
    lung = (axis[:, None] ** 2 + axis**2) < 60**2
    hu = np.where(lung, -850.0, 45.0)
    hu = gaussian_filter(hu, blur_mm / PIXEL * fine)
    plane = hu.reshape(200, fine, 200, fine).mean(axis=(1, 3))
    rng = np.random.default_rng(4)
    stack = plane[..., None] + rng.normal(0, 15, (200, 200, 12))
    heart = np.zeros(stack.shape, bool)
    heart[95:105, 95:105, 3:9] = True
    affine = grid_affine((PIXEL, PIXEL, 2.5), (0.0, 0.0, 0.0))
    return Volume(np.asfortranarray(stack.round().astype(np.int16)), affine), heart


@pytest.mark.parametrize("blur", [0.5, 0.7])
def test_the_point_spread_is_read_off_the_edges(blur):
    ct, heart = lung_and_wall(blur)
    found = estimate_point_spread(ct, heart, thickness_mm=2.5)
    assert found.origin == "edges"
    assert found.blur_mm == pytest.approx(blur, abs=0.08)
    assert found.overshoot < 0.2


def test_without_edges_the_kernel_decides():
    ct = water(np.random.default_rng(5))
    heart = np.ones(ct.shape, bool)
    found = estimate_point_spread(ct, heart, thickness_mm=2.5, kernel="LUNG")
    assert (found.origin, found.overshoot) == ("kernel", SCANNER_KERNELS["LUNG"].overshoot)
    assert estimate_point_spread(ct, heart, thickness_mm=2.5).origin == "default"
