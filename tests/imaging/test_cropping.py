"""Windows cut as short scans of small fields of view are."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from coronet import config
from coronet.errors import ParamsError
from coronet.imaging.cropping import crop_window, cut_short
from coronet.io.volume import Volume, grid_affine

SHAPE, SPACING = (40, 40, 40), (5.0, 5.0, 5.0)
X, Y, Z = np.indices(SHAPE)
HEART = (X - 19) ** 2 + (Y - 21) ** 2 + (Z - 17) ** 2 < 81


@pytest.fixture
def window() -> torch.Tensor:
    """Tissue whose HU name its voxel everywhere, and a heart of 90 mm."""
    hu = (X * 1600 + Y * 40 + Z).astype(np.float32) / 100
    return torch.from_numpy(np.stack([hu, HEART * np.float32(255)]))


def crops(window: torch.Tensor, count: int = 200) -> list[torch.Tensor]:
    return [
        crop_window(np.random.default_rng(seed), window.clone(), spacing_mm=SPACING) for seed in range(count)
    ]


def test_what_is_left_is_a_box_of_the_window_in_its_middle(window):
    for cropped in crops(window):
        left = (cropped[0] > -1000).nonzero()
        low, high = left.amin(dim=0), left.amax(dim=0)
        # the outermost voxels are partly air
        middle = cropped[0][tuple(slice(int(a) + 1, int(b)) for a, b in zip(low, high, strict=True))]
        place = middle[middle > -1000] * 100
        assert torch.allclose(place, place.round(), atol=0.5)
        for axis in range(3):
            if high[axis] - low[axis] < SHAPE[axis] - 2:
                assert abs(int(low[axis]) - (SHAPE[axis] - 1 - int(high[axis]))) <= 2


def test_image_and_mask_are_cut_alike(window):
    for cropped in crops(window):
        assert not cropped[1][cropped[0] == -1024].any()
        assert (cropped[1] <= 255).all()


def test_hearts_are_whole_cut_and_near_the_end(window):
    volumes = [float(cropped[1].sum() / window[1].sum()) for cropped in crops(window)]
    heights = [
        int((cropped[0] > -1000).any(dim=0).any(dim=0).sum()) * SPACING[2] for cropped in crops(window)
    ]
    assert np.mean(np.array(volumes) > 0.999) > 0.3
    assert np.mean(np.array(volumes) < 0.9) > 0.1
    assert min(heights) < 120 < max(heights) == SHAPE[2] * SPACING[2]


def test_a_window_without_heart_stays_as_it_is(window):
    window[1] = 0
    assert torch.equal(crop_window(np.random.default_rng(0), window.clone(), spacing_mm=SPACING), window)


def test_the_same_draw_gives_the_same_crop(window):
    first, again = (
        crop_window(np.random.default_rng(7), window.clone(), spacing_mm=SPACING) for _ in range(2)
    )
    assert torch.equal(first, again)


def test_calcium_windows_are_not_cropped():
    params = config.load_params()
    augment = dataclasses.replace(params.calcium.augment, crop=0.5)
    with pytest.raises(ParamsError, match="calcium.augment.crop"):
        dataclasses.replace(params, calcium=dataclasses.replace(params.calcium, augment=augment))


def test_a_scan_cut_short_keeps_its_place_and_its_heart():
    ct = Volume(X * 100 + Y + Z * 0.01, grid_affine((2.0, 2.0, 4.0), (-30.0, 10.0, 5.0)))
    short, heart = cut_short(ct, HEART, field_mm=50.0, margin_mm=8.0)
    assert heart.sum() == HEART.sum()
    assert short.shape == heart.shape == (25, 25, 17 + 4)
    first = np.linalg.inv(ct.affine) @ short.affine @ [0, 0, 0, 1]
    assert short.array[0, 0, 0] == ct.array[tuple(first[:3].round().astype(int))]
