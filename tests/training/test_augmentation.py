"""Image and mask move together."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.interpolate import interpn
from scipy.ndimage import map_coordinates

from coronet import config
from coronet.training.augmentation import (
    METAL_HU,
    blur_intensity,
    cut_window,
    draw_field,
    draw_intensity,
    draw_metal,
    warp_volume,
)

ALWAYS = dataclasses.replace(
    config.load_params().heart.augment,
    probability=1.0,
    rotation_deg=10.0,
    shift_mm=6.0,
    zoom=(0.9, 1.1),
    elastic_mm=6.0,
)
NEVER = dataclasses.replace(ALWAYS, probability=0.0)
SHAPE, SPACING = (24, 24, 16), (2.0, 2.0, 3.0)


@pytest.fixture
def scan() -> tuple[np.ndarray, np.ndarray]:
    places = np.stack(np.meshgrid(*[np.arange(n) for n in (40, 36, 30)], indexing="ij"), axis=-1)
    mask = (np.linalg.norm((places - [20, 18, 15]) * SPACING, axis=-1) < 16).astype(np.uint8)
    return np.where(mask, 1000, -1024).astype(np.int16), mask * 255


def test_the_warped_mask_is_where_the_warped_image_is(scan):
    hu, mask = scan
    for seed in range(5):
        field = draw_field(np.random.default_rng(seed), ALWAYS, shape=SHAPE, spacing_mm=SPACING)
        image, moved = warp_volume((hu, mask), (20.5, 17.5, 14.5), field, SHAPE, (-1024, 0))
        assert torch.allclose((image + 1024) / 2024, moved / 255, atol=1e-4)
        assert not torch.equal(moved, cut_window((mask,), (20.5, 17.5, 14.5), SHAPE, (0,))[0])


def test_warping_the_mask_alone_gives_the_same_mask(scan):
    hu, mask = scan
    field = draw_field(np.random.default_rng(1), ALWAYS, shape=SHAPE, spacing_mm=SPACING)
    together = warp_volume((hu, mask), (20.5, 17.5, 14.5), field, SHAPE, (-1024, 0))[1]
    assert torch.equal(together, warp_volume((mask,), (20.5, 17.5, 14.5), field, SHAPE, (0,))[0])


def test_a_field_is_read_as_linear_interpolation_reads_it():
    rng = np.random.default_rng(0)
    noise = rng.integers(-1000, 1000, (40, 36, 30)).astype(np.int16)
    centre = np.array([20.5, 17.5, 14.5])
    for seed in range(5):
        field = draw_field(np.random.default_rng(seed), ALWAYS, shape=SHAPE, spacing_mm=SPACING)
        knots = [np.linspace(0, 1, points) for points in field.shape[1:]]
        window = np.stack(np.meshgrid(*[np.linspace(0, 1, n) for n in SHAPE], indexing="ij"), axis=-1)
        offsets = interpn(knots, field.permute(1, 2, 3, 0).numpy(), window)
        expected = map_coordinates(
            noise.astype(float),
            np.moveaxis(offsets + centre, -1, 0),
            order=1,
            cval=-1024,
            mode="grid-constant",
        )
        read = warp_volume((noise,), centre, field, SHAPE, (-1024,))[0]
        # places are single precision: a thousandth of a voxel where neighbours differ by up to 2000
        assert np.abs(read.numpy() - expected).max() < 2


def test_no_transform_is_a_plain_cut(scan):
    hu, mask = scan
    assert draw_field(np.random.default_rng(0), NEVER, shape=SHAPE, spacing_mm=SPACING) is None
    centre = (11.5, 17.5, 7.5)
    window = cut_window((hu, mask), centre, SHAPE, (-1024, 0))
    assert np.array_equal(window[0].numpy(), hu[0:24, 6:30, 0:16])
    corners = [torch.tensor([-(n - 1) / 2, (n - 1) / 2]) for n in SHAPE]
    still = torch.stack(torch.meshgrid(*corners, indexing="ij"))
    assert torch.allclose(warp_volume((hu, mask), centre, still, SHAPE, (-1024, 0)), window, atol=0.5)


def test_beyond_the_scan_lies_air(scan):
    hu, mask = scan
    window = cut_window((hu, mask), (-50.5, 17.5, 14.5), SHAPE, (-1024, 0))
    assert (window[0] == -1024).all()
    assert (window[1] == 0).all()
    field = draw_field(np.random.default_rng(0), ALWAYS, shape=SHAPE, spacing_mm=SPACING)
    far = warp_volume((hu, mask), (-60.5, 17.5, 14.5), field, SHAPE, (-1024, 0))
    assert torch.allclose(far[0], torch.tensor(-1024.0), atol=0.01)


def test_rotation_is_in_millimetres_so_that_balls_stay_balls(scan):
    _, mask = scan
    turned = dataclasses.replace(ALWAYS, shift_mm=0.0, zoom=(1.0, 1.0), elastic_mm=0.0, rotation_deg=40.0)
    field = draw_field(np.random.default_rng(3), turned, shape=SHAPE, spacing_mm=SPACING)
    centre = (20.0, 18.0, 15.0)
    moved = warp_volume((mask,), centre, field, SHAPE, (0,))[0]
    offsets = torch.stack(
        torch.meshgrid(
            *[(torch.arange(n) - (n - 1) / 2) * mm for n, mm in zip(SHAPE, SPACING, strict=True)],
            indexing="ij",
        ),
        dim=-1,
    )
    ball = offsets.norm(dim=-1) < 16
    assert ((moved > 127) == ball).float().mean() > 0.97


def test_intensity_keeps_the_range_and_blur_the_sum():
    hu = torch.full((21, 21, 21), -1024.0)
    hu[10, 10, 10] = 976.0
    soft = blur_intensity(hu, (1.0, 1.0, 0.5))
    assert float((soft + 1024).sum()) == pytest.approx(2000, rel=1e-3)
    assert float(soft.max()) < 0
    noisy = dataclasses.replace(ALWAYS, blur_mm=3.0, noise_hu=30.0, gamma=(0.5, 2.0))
    seen = draw_intensity(np.random.default_rng(0), hu, noisy, spacing_mm=SPACING, window_hu=(-200.0, 300.0))
    assert float(seen.min()) >= -1
    assert float(seen.max()) <= 1


def test_the_same_seed_draws_the_same(scan):
    fields = [
        draw_field(np.random.default_rng([3, 1, 4]), ALWAYS, shape=SHAPE, spacing_mm=SPACING) for _ in "ab"
    ]
    assert torch.equal(*fields)


def test_metal_is_a_small_bright_piece_in_the_tissue():
    before = torch.full((40, 40, 24), -1000.0)
    before[20:] = 40.0
    lengths = []
    for seed in range(12):
        hu = before.clone()
        draw_metal(np.random.default_rng(seed), hu, spacing_mm=(0.7, 0.7, 2.5))
        added = hu - before
        assert 250 < float(added.max()) <= METAL_HU[1]
        assert int(added.argmax()) // (40 * 24) >= 19
        bright = (added > 100).nonzero() * torch.tensor([0.7, 0.7, 2.5])
        lengths.append(float((bright - bright.mean(dim=0)).norm(dim=1).max()))
        assert (added > 1).sum() < 0.1 * added.numel()
    assert max(lengths) < 12
    assert len(set(lengths)) > 6


def test_no_metal_hangs_in_the_lung():
    lung = torch.full((8, 8, 8), -850.0)
    draw_metal(np.random.default_rng(0), lung, spacing_mm=(0.7, 0.7, 2.5))
    assert (lung == -850).all()
