"""From a scan to masks on the scan's own grid."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from coronet.cohort.volume import AIR_HU, Volume
from coronet.config import InputParams
from coronet.networks.builder import LoadedModel
from coronet.prepare.geometry import Grid, crop_grid, grid_of, mask_box, regrid, relative_axes
from coronet.prepare.inputs import CALCIUM_HU, NetworkInput, calcium_input, heart_input
from coronet.prepare.intensity import check_contrast, window
from coronet.prepare.patches import blend
from coronet.train.device import precision

BATCH = 8
"""Windows in memory at once."""
LEAST = 0.01
"""Probabilities below this are not brought back to the scan's grid."""
GROWTH = 0.25
"""A calcification found at the threshold grows over bright voxels down to this share of it."""
LEAST_SHARE = 0.4
"""A connected bright thing counts where at least this share of its voxels reaches the threshold."""
LEAST_VOXELS = 3
"""Smaller findings cannot be told from noise."""


def probabilities(
    module: nn.Module, seen: NetworkInput, spec: InputParams, *, device: torch.device, overlap: float
) -> np.ndarray:
    """The network's answer on its own grid, put together from overlapping windows.

    Args:
        module: (n, 1, x, y, z) in −1 … 1 to logits; in evaluation mode.
        seen: the scan on the network's grid.
        spec: window shape and intensity window.
        device: where ``module`` lies.
        overlap: of neighbouring windows.

    Returns:
        float32, shape of ``seen.hu``; 0 outside of its region.
    """

    region = None if seen.region is None else torch.from_numpy(seen.region).to(device)
    with torch.inference_mode():
        values = window(torch.from_numpy(seen.hu.astype(np.float32)).to(device), spec.window_hu)
        result = blend(
            values,
            lambda tiles: answer_windows(module, tiles, device=device),
            window=spec.shape,
            overlap=overlap,
            batch=BATCH,
            fill=float(window(np.float32(AIR_HU), spec.window_hu)),
            wanted=region,
        )
    answer = result.cpu().numpy()
    return answer if seen.region is None else np.where(seen.region, answer, np.float32(0))


def answer_windows(module: nn.Module, windows: torch.Tensor, *, device: torch.device) -> torch.Tensor:
    """Probabilities of windows (n, 1, x, y, z) in −1 … 1; to be called in inference mode."""
    with precision(device):
        logits = module(windows.to(device).contiguous(memory_format=torch.channels_last_3d))
    return torch.sigmoid(logits.float())


def predict_heart(ct: Volume, model: LoadedModel) -> np.ndarray:
    """Probability of the heart.

    Args:
        ct: HU, shape (x, y, z), RAS+.
        model: a loaded heart model.

    Returns:
        float32, shape of ``ct``, on its own grid.

    Raises:
        InputError: the scan carries no contrast in the network's window.
    """
    spec = model.params.input
    seen = heart_input(ct, spec)
    check_contrast(window(seen.hu.astype(np.float32), spec.window_hu), "the scan")
    answer = probabilities(model.module, seen, spec, device=model.device, overlap=spec.overlap)
    return _to_scan(answer, seen.grid, grid_of(ct))


def predict_calcium(ct: Volume, heart: np.ndarray, model: LoadedModel) -> np.ndarray:
    """Probability of coronary calcium.

    Args:
        ct: HU, shape (x, y, z), RAS+.
        heart: boolean, same shape.
        model: a loaded calcium model.

    Returns:
        float32, shape of ``ct``, on its own grid; 0 farther than the model's margin from the heart.

    Raises:
        InputError: the heart mask is empty.
    """
    spec = model.params.input
    seen = calcium_input(ct, np.asarray(heart) > 0, spec)
    answer = probabilities(model.module, seen, spec, device=model.device, overlap=spec.overlap)
    return _to_scan(answer, seen.grid, grid_of(ct))


def _to_scan(answer: np.ndarray, grid: Grid, scan: Grid) -> np.ndarray:
    """Bring probabilities to the scan's grid, computing only the box that holds any worth mentioning."""
    result = np.zeros(scan.shape, np.float32)
    coarse = mask_box(answer > LEAST, (1, 1, 1))
    if coarse is None:
        return result
    # The network's grid was laid over the scan's, so their axes are parallel.
    start, ratio = relative_axes(scan, grid)
    low = np.clip(np.floor(start + (coarse[0] - 1) * ratio), 0, scan.shape).astype(int)
    high = np.clip(np.ceil(start + coarse[1] * ratio) + 1, 0, scan.shape).astype(int)
    if (high <= low).any():
        return result
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    result[box] = regrid(Volume(answer, grid.affine), crop_grid(scan, low, high))
    return result


def heart_mask(probability: np.ndarray, ct: Volume, threshold: float) -> np.ndarray:
    """The heart: the largest connected part at or above ``threshold``, its holes filled.

    Args:
        probability: shape (x, y, z).
        ct: the scan it belongs to.
        threshold: 0 … 1.

    Returns:
        Boolean, same shape; all false where nothing reaches the threshold.
    """
    import cc3d

    result = np.zeros(ct.shape, bool)
    box = mask_box(probability >= threshold, (1, 1, 1))
    if box is None:
        return result
    place = tuple(slice(a, b) for a, b in zip(*box, strict=True))
    part = cc3d.largest_k(probability[place] >= threshold, k=1, connectivity=6) > 0
    outside = cc3d.connected_components(np.pad(~part, 1, constant_values=True), connectivity=6)
    result[place] = (outside != outside[0, 0, 0])[1:-1, 1:-1, 1:-1]
    return result


def calcium_mask(probability: np.ndarray, ct: Volume, threshold: float) -> np.ndarray:
    """Coronary calcium: the voxels of at least 130 HU, on the scan's own grid, that the network found.

    A connected bright thing is judged as a whole: scraps of a plate in the pericardium or the aortic wall do
    not count where the network doubts most of it. What is found grows over connected bright voxels down to a
    quarter of the threshold: a spot's rim is blurred on the network's grid, and cutting it off would shrink
    every lesion. It does not grow farther, so that a lesion beside bone does not run into it.

    Args:
        probability: shape (x, y, z).
        ct: the scan it belongs to, in HU.
        threshold: 0 … 1.

    Returns:
        Boolean, same shape.
    """
    import cc3d

    result = np.zeros(ct.shape, bool)
    box = mask_box(probability > 0, (0, 0, 0))
    if box is None:
        return result
    place = tuple(slice(a, b) for a, b in zip(*box, strict=True))
    likely, bright = probability[place], ct.array[place] >= CALCIUM_HU
    sure = bright & (likely >= threshold)
    things = cc3d.connected_components(bright & (likely > 0), connectivity=26)
    sizes = np.bincount(things.ravel())
    believed = np.bincount(things[sure], minlength=len(sizes)) >= LEAST_SHARE * sizes
    candidates = bright & (likely >= threshold * GROWTH) & believed[things]
    parts = cc3d.connected_components(candidates, connectivity=26)
    large = np.bincount(parts.ravel()) >= LEAST_VOXELS
    found = np.unique(parts[sure & candidates])
    result[place] = np.isin(parts, found[(found > 0) & large[found]])
    return result
