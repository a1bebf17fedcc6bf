"""The path from scan to masks beside the same path written plainly, without any of its short cuts."""

from __future__ import annotations

import itertools

import cc3d
import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt
from torch import nn

from coronet.imaging.resampling import (
    Grid,
    axis_weights,
    box_grid,
    centred_grid,
    grid_of,
    margin_voxels,
    mask_box,
    relative_axes,
)
from coronet.inference.sliding_window import tile_weights, window_starts
from coronet.io.volume import AIR_HU, Volume
from coronet.networks.factory import LoadedModel, ModelSpec, build_network
from coronet.preprocessing.intensity import scale_intensity
from coronet.scoring.calcium_score import score_calcium
from coronet.scoring.predicted_masks import predict_masks

LESIONS = [((20.0, 10.0, 4.0), 350), ((-24.0, 20.0, -20.0), 500), ((-10.0, -16.0, 12.0), 180)]


class Doubting(nn.Module):
    """Says yes to what is bright, and is led astray by what lies around it."""

    def __init__(self, network: nn.Module, level: float, gain: float) -> None:
        super().__init__()
        self.network, self.level, self.gain = network, level, gain

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return (image - self.level) * self.gain + 2 * torch.tanh(self.network(image) + 3)


@pytest.fixture
def models(params):
    def make(model: str, hu: float, gain: float) -> LoadedModel:
        chosen = params.model(model)
        network = build_network(chosen.network, shape=chosen.input.shape, seed=3)
        module = Doubting(network, float(scale_intensity(np.float32(hu), chosen.input.window_hu)), gain)
        return LoadedModel(
            module.eval().requires_grad_(False), ModelSpec(model, chosen, "", {}), "", torch.device("cpu")
        )

    return make("heart", -60, 8.0), make("calcium", 130, 20.0)


def plain_regrid(array: np.ndarray, source: Grid, target: Grid, fill: float) -> np.ndarray:
    """All voxels times all voxels of each axis, in double precision."""
    start, ratio = relative_axes(source, target)
    result = array.astype(np.float64) - fill
    for axis in range(3):
        weights = axis_weights(
            source.shape[axis], target.shape[axis], start=start[axis], ratio=ratio[axis]
        ).astype(np.float64)
        result = np.moveaxis(np.tensordot(weights, result, axes=(1, axis)), 0, axis)
    return result + fill


def plain_answer(hu: np.ndarray, model: LoadedModel) -> np.ndarray:
    """Every window, one at a time."""
    spec = model.params.input
    low = [max(0, (w - n) // 2) for n, w in zip(hu.shape, spec.shape, strict=True)]
    high = [max(0, w - n) - first for n, w, first in zip(hu.shape, spec.shape, low, strict=True)]
    padded = np.pad(hu, list(zip(low, high, strict=True)), constant_values=AIR_HU)
    values = torch.from_numpy(scale_intensity(padded.astype(np.float32), spec.window_hu))
    total, weight, fade = torch.zeros(padded.shape), torch.zeros(padded.shape), tile_weights(spec.shape)
    axes = [window_starts(n, w, spec.overlap) for n, w in zip(padded.shape, spec.shape, strict=True)]
    for corner in itertools.product(*axes):
        place = tuple(slice(a, a + w) for a, w in zip(corner, spec.shape, strict=True))
        with torch.inference_mode():
            total[place] += torch.sigmoid(model.module(values[place][None, None]))[0, 0] * fade
        weight[place] += fade
    inner = tuple(slice(a, a + n) for a, n in zip(low, hu.shape, strict=True))
    return (total / weight).numpy()[inner]


def plain_masks(ct: Volume, heart_model: LoadedModel, calcium_model: LoadedModel):
    scan = grid_of(ct)
    spec, limit = heart_model.params.input, heart_model.params.threshold
    grid = centred_grid(scan, spec.spacing_mm)
    hu = np.rint(plain_regrid(ct.array, scan, grid, AIR_HU)).astype(np.int16)
    heart = plain_regrid(plain_answer(hu, heart_model), grid, scan, 0) >= limit
    heart = cc3d.largest_k(heart, k=1, connectivity=6) > 0
    outside = cc3d.connected_components(np.pad(~heart, 1, constant_values=True), connectivity=6)
    heart = (outside != outside[0, 0, 0])[1:-1, 1:-1, 1:-1]

    spec, limit = calcium_model.params.input, calcium_model.params.threshold
    grid = box_grid(scan, *mask_box(heart, margin_voxels(spec.margin_mm, ct.spacing_mm)), spec.spacing_mm)
    inside = plain_regrid(heart, scan, grid, 0) >= 0.5
    region = distance_transform_edt(~inside, sampling=spec.spacing_mm) <= spec.margin_mm
    hu = np.where(region, np.rint(plain_regrid(ct.array, scan, grid, AIR_HU)), AIR_HU).astype(np.int16)
    likely = plain_regrid(np.where(region, plain_answer(hu, calcium_model), 0), grid, scan, 0)

    calcium = np.zeros(ct.shape, bool)
    things = cc3d.connected_components((ct.array >= 130) & (likely > 0), connectivity=26)
    believed = np.zeros(ct.shape, bool)
    for thing in range(1, int(things.max()) + 1):
        voxels = things == thing
        believed |= voxels & ((likely[voxels] >= limit).mean() >= 0.4)
    parts = cc3d.connected_components(believed & (likely >= limit / 4), connectivity=26)
    for part in range(1, int(parts.max()) + 1):
        voxels = parts == part
        calcium |= voxels & (voxels.sum() >= 3 and (likely[voxels] >= limit).any())
    return heart, calcium


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize("seed", [1, 2])
def test_short_cuts_change_neither_masks_nor_score(make_chest, models, seed):
    ct = make_chest(LESIONS, seed=seed).ct
    # Specks of noise, as real scans have them: too small to be calcium, some beside each other.
    rng = np.random.default_rng(seed)
    ct.array[tuple(rng.integers(0, n, 400) for n in ct.shape)] = 160
    heart, calcium = plain_masks(ct, *models)
    found = predict_masks(ct, *models)
    assert 0.01 < heart.mean() < 0.9
    assert dice(found.heart, heart) >= 0.999
    assert calcium.sum() > 10 and dice(found.calcium, calcium) >= 0.999
    expected = score_calcium(ct, calcium).scores.agatston
    assert expected > 20
    assert score_calcium(ct, found.calcium).scores.agatston == pytest.approx(expected, rel=0.01)
