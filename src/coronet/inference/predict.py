"""From a scan to masks on the scan's own grid."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import nn

from coronet.config import InputParams
from coronet.imaging.resampling import (
    Grid,
    Index,
    crop_grid,
    grid_of,
    mask_box,
    mask_slices,
    regrid,
    relative_axes,
)
from coronet.inference.devices import precision
from coronet.inference.heart_features import heart_features
from coronet.inference.sliding_window import sliding_window
from coronet.io.volume import AIR_HU, CALCIUM_HU, Volume
from coronet.networks.factory import LoadedModel
from coronet.preprocessing.intensity import check_contrast, scale_intensity
from coronet.preprocessing.network_input import NetworkInput, calcium_input, heart_input

BATCH = 4  # windows in memory at once; what more of them take no longer fits into a processor's cache
_GROWTH = 0.25  # a calcification found at the threshold grows over bright voxels down to this share of it
_LEAST_SHARE = 0.4
"""A connected bright thing counts where at least this share of its voxels reaches the threshold."""
_LARGE_MM3, _SURE = 50.0, 0.6
"""A part of such a thing that is this large counts by itself where its mean probability is this high."""
_LEAST_VOXELS = 3  # smaller findings cannot be distinguished from noise


def probabilities(
    module: nn.Module, scan_input: NetworkInput, spec: InputParams, *, device: torch.device, overlap: float
) -> np.ndarray:
    """The network's answer on its own grid, put together from overlapping windows.

    Args:
        module: (n, 1, x, y, z) in −1 … 1 to logits; in evaluation mode.
        spec: window shape and intensity window.

    Returns:
        float32, shape of ``scan_input.hu``; 0 outside of its region.
    """
    region = None if scan_input.region is None else torch.from_numpy(scan_input.region).to(device)
    with torch.inference_mode():
        values = scale_intensity(
            torch.from_numpy(scan_input.hu.astype(np.float32)).to(device), spec.window_hu
        )
        result = sliding_window(
            values,
            lambda tiles: predict_windows(module, tiles, device=device),
            window=spec.shape,
            overlap=overlap,
            batch=BATCH,
            fill=float(scale_intensity(np.float32(AIR_HU), spec.window_hu)),
            wanted=region,
        )
    answer = result.cpu().numpy()
    return answer if scan_input.region is None else np.where(scan_input.region, answer, np.float32(0))


def predict_windows(module: nn.Module, windows: torch.Tensor, *, device: torch.device) -> torch.Tensor:
    """Probabilities of windows (n, 1, x, y, z) in −1 … 1; to be called in inference mode."""
    with precision(device):
        logits = module(windows.to(device).contiguous(memory_format=torch.channels_last_3d))
    return torch.sigmoid(logits.float())


def predict_heart(ct: Volume, model: LoadedModel) -> np.ndarray:
    """Probability of the heart.

    Args:
        ct: HU, shape (x, y, z), RAS+.

    Returns:
        float32, shape of ``ct``, on its own grid; 0 far from where the model's threshold is reached.

    Raises:
        InputError: the scan carries no contrast in the network's window.
    """
    scan_input, answer = _heart_answer(ct, model)
    return _to_scan(answer, scan_input.grid, grid_of(ct), wanted=answer >= model.params.threshold)


def predict_heart_with_distance(ct: Volume, model: LoadedModel) -> tuple[np.ndarray, float | None]:
    """Probability of the heart, and how far the scan lies off those that the network learned from.

    Args:
        ct: HU, shape (x, y, z), RAS+.

    Returns:
        What `predict_heart` gives, and the distance of `coronet.networks.input_distribution`; None where the
        network has no distribution, or no heart was found.

    Raises:
        InputError: see `predict_heart`.
    """
    scan_input, answer = _heart_answer(ct, model)
    probability = _to_scan(answer, scan_input.grid, grid_of(ct), wanted=answer >= model.params.threshold)
    features = None if model.distribution is None else heart_features(model, scan_input, answer)
    if model.distribution is None or features is None:
        return probability, None
    return probability, model.distribution.distance(features)


def _heart_answer(ct: Volume, model: LoadedModel) -> tuple[NetworkInput, np.ndarray]:
    spec = model.params.input
    scan_input = heart_input(ct, spec)
    check_contrast(scale_intensity(scan_input.hu.astype(np.float32), spec.window_hu), "the scan")
    return scan_input, probabilities(
        model.module, scan_input, spec, device=model.device, overlap=spec.overlap
    )


def predict_calcium(ct: Volume, heart: np.ndarray, model: LoadedModel) -> np.ndarray:
    """Probability of coronary calcium.

    Args:
        ct: HU, shape (x, y, z), RAS+.
        heart: boolean, same shape.

    Returns:
        float32, shape of ``ct``, on its own grid; 0 farther than the model's margin from the heart. Windows
        in which nothing is bright enough for `calcium_above_threshold` are skipped; the result is
        the same.

    Raises:
        InputError: the heart mask is empty.
    """
    spec = model.params.input
    scan_input = calcium_input(ct, np.asarray(heart) > 0, spec)
    scan_input = dataclasses.replace(
        scan_input, region=scan_input.region & _may_be_calcium(ct, scan_input.grid)
    )
    answer = probabilities(model.module, scan_input, spec, device=model.device, overlap=spec.overlap)
    return _to_scan(answer, scan_input.grid, grid_of(ct), wanted=answer > 0)


def _may_be_calcium(ct: Volume, grid: Grid) -> np.ndarray:
    """Voxels of ``grid`` that matter to the probability of voxels `calcium_above_threshold` may keep."""
    import cc3d
    from scipy.ndimage import maximum_filter

    low, high = _scan_box(grid, grid_of(ct), (0, 0, 0), grid.shape)
    bright = ct.array[tuple(map(slice, low, high))] >= CALCIUM_HU
    components = cc3d.dust(bright, threshold=_LEAST_VOXELS, connectivity=26)
    start, ratio = _parallel_axes(grid, grid_of(ct))
    place = np.rint(start + (np.argwhere(components) + low) * ratio).astype(int)
    result = np.zeros(grid.shape, bool)
    result[tuple(place.clip(0, np.asarray(grid.shape) - 1).T)] = True
    # Half a voxel is lost by rounding, and interpolation reads so far; see `axis_weights`.
    reach = np.ceil(0.5 + 1 + np.sqrt(np.maximum(ratio**2 - 1, 0)) / 2).astype(int)
    return maximum_filter(result, size=tuple(2 * reach + 1))


def _to_scan(answer: np.ndarray, grid: Grid, scan: Grid, *, wanted: np.ndarray) -> np.ndarray:
    """Bring probabilities to the scan's grid, computing only the box around what is ``wanted`` of them."""
    result = np.zeros(scan.shape, np.float32, order="F")
    coarse = mask_box(wanted, (0, 0, 0))
    if coarse is not None:
        low, high = _scan_box(grid, scan, *coarse)
        values = regrid(Volume(np.asfortranarray(answer), grid.affine), crop_grid(scan, low, high))
        result[tuple(map(slice, low, high))] = values
    return result


def _parallel_axes(source: Grid, target: Grid) -> tuple[np.ndarray, np.ndarray]:
    axes = relative_axes(source, target)
    if axes is None:
        raise ValueError("a network's grid is laid along the axes of its scan")
    return axes


def _scan_box(grid: Grid, scan: Grid, low: Index, high: Index) -> tuple[np.ndarray, np.ndarray]:
    """Box of a scan's voxels that reads from voxels ``low`` to ``high`` of a network's grid laid over it."""
    start, ratio = _parallel_axes(scan, grid)
    first = np.floor(start + (np.asarray(low) - 2) * ratio)
    last = np.ceil(start + (np.asarray(high) + 1) * ratio) + 1
    return np.clip(first, 0, scan.shape).astype(int), np.clip(last, 0, scan.shape).astype(int)


def largest_heart(probability: np.ndarray, ct: Volume, threshold: float) -> np.ndarray:
    """The heart: the largest connected part at or above ``threshold``, its holes filled.

    Args:
        probability: shape (x, y, z).

    Returns:
        Boolean, same shape; all false where nothing reaches the threshold.
    """
    import cc3d

    result = np.zeros(ct.shape, bool, order="F")
    place = mask_slices(probability >= threshold, (1, 1, 1))
    if place is None:
        return result
    part = cc3d.largest_k(probability[place] >= threshold, k=1, connectivity=6) > 0
    outside = cc3d.connected_components(np.pad(~part, 1, constant_values=True), connectivity=6)
    result[place] = (outside != outside[0, 0, 0])[1:-1, 1:-1, 1:-1]
    return result


def calcium_above_threshold(probability: np.ndarray, ct: Volume, threshold: float) -> np.ndarray:
    """Coronary calcium: the voxels of at least 130 HU, on the scan's own grid, that the network found.

    A connected bright thing counts as a whole: scraps of a plate in the pericardium or the aortic wall do
    not count where the network doubts most of it. But a large part that the network is sure of counts all
    the same: a plaque may touch such a plate, metal or bone. What is found grows over connected bright
    voxels down to a quarter of the threshold: a spot's rim is blurred on the network's grid, and cutting it
    off would shrink every lesion. It does not grow farther, so that a lesion beside bone does not run into
    it.

    Args:
        probability: shape (x, y, z).

    Returns:
        Boolean, same shape.
    """
    return calcium_candidates(probability, ct, threshold).mask(ct.shape)


@dataclasses.dataclass(frozen=True)
class CalciumCandidates:
    """Connected bright things that may be calcium: all that would count if the network were believed.

    Attributes:
        place: indices of their voxels along x, y and z, n of each.
        number: of the candidate that each voxel belongs to, from 0 without gaps, shape (n,).
        network: the network's probability of each candidate, the mean of its voxels, shape (candidates,).
        counted: whether a candidate is calcium at the network's threshold, shape (candidates,).
    """

    place: tuple[np.ndarray, ...]
    number: np.ndarray
    network: np.ndarray
    counted: np.ndarray

    def mask(self, shape: tuple[int, ...]) -> np.ndarray:
        """The candidates that are counted, boolean."""
        result = np.zeros(shape, bool, order="F")
        chosen = self.counted[self.number]
        result[tuple(axis[chosen] for axis in self.place)] = True
        return result


def calcium_candidates(probability: np.ndarray, ct: Volume, threshold: float) -> CalciumCandidates:
    """Every connected thing that `calcium_above_threshold` counts, or would if it did not doubt it.

    Candidates are 26-connected parts of the voxels of at least 130 HU down to a quarter of the threshold, of
    three voxels or more. What counts at the threshold are some of them, each as a whole.

    Args:
        probability: shape (x, y, z).
    """
    import cc3d

    box = mask_slices(probability > 0)
    if box is None:
        return CalciumCandidates((np.empty(0, int),) * 3, np.empty(0, int), np.empty(0), np.empty(0, bool))
    components = cc3d.connected_components(
        (ct.array[box] >= CALCIUM_HU) & (probability[box] > 0), connectivity=26
    )
    bright = np.nonzero(components)
    owner, likely = components[bright], probability[box][bright]
    sure = likely >= threshold
    believed = np.bincount(owner, weights=sure) >= _LEAST_SHARE * np.bincount(owner)
    grown = np.zeros_like(components, dtype=bool)
    grown[bright] = likely >= threshold * _GROWTH
    part = cc3d.connected_components(grown, connectivity=26)[bright]
    sizes = np.bincount(part, minlength=1)
    large = sizes >= _LEAST_VOXELS
    large[0] = False
    kept = large[part]
    number = (np.cumsum(large) - 1)[part[kept]]
    total = np.bincount(number, weights=likely[kept])
    counts = np.bincount(number, weights=sure[kept] & believed[owner[kept]]) > 0
    network = total / sizes[large]
    counts |= (network >= max(threshold, _SURE)) & (sizes[large] * ct.voxel_mm3 >= _LARGE_MM3)
    return CalciumCandidates(
        place=tuple(index[kept] + side.start for index, side in zip(bright, box, strict=True)),
        number=number,
        network=network,
        counted=counts,
    )
