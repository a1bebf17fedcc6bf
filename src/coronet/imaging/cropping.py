"""Training windows and scans cut as a shorter scan or a smaller field of view would cut them.

Dedicated calcium scans begin and end a few centimetres from the heart and show little beside it. A network
that has only met whole chests loses part of such a heart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from coronet.imaging.resampling import crop_grid, grid_of, mask_box
from coronet.io.volume import AIR_HU, Volume

_CUT_SHARE = 0.7  # how often each end of the scan, and how often the field of view, is cut
_MARGIN_MM = (-25.0, 60.0)
"""Distance of the first or last slice from the heart; below 0 part of the heart is missing."""
_FIELD_MM = (170.0, 330.0)  # side of the square field of view
_OFF_CENTRE_MM = 20.0  # largest distance of the field's centre from the heart's, along each axis
_ROUND_SHARE = 0.3  # share of the cut fields in which only the inscribed circle is reconstructed


def crop_window(
    rng: np.random.Generator, stack: torch.Tensor, *, spacing_mm: Sequence[float]
) -> torch.Tensor:
    """Cut a window as if the scan had been shorter and its field of view smaller.

    What is left stands in the middle of the window wherever it is smaller, as scoring places it
    (`coronet.inference.sliding_window.sliding_window`).

    Args:
        rng: the sample's own generator.
        stack: image in HU and heart target, shape (2, x, y, z); changed in place.
        spacing_mm: voxel size (x, y, z) in mm.

    Returns:
        The same shape; air and 0 outside of the crop. Unchanged where no heart is in the window.
    """
    heart = (stack[1] >= 128).nonzero()
    if not len(heart):
        return stack
    first, last = heart.amin(dim=0).tolist(), heart.amax(dim=0).tolist()
    size = stack.shape[1:]
    # edges of voxels: the first voxel lies between 0 and 1
    low, high = np.zeros(3), np.asarray(size, float)
    below, above = rng.random(2) < _CUT_SHARE
    margins = rng.uniform(*_MARGIN_MM, 2) / spacing_mm[2]
    if below:
        low[2] = max(first[2] - margins[0], 0.0)
    if above:
        high[2] = min(last[2] + 1 + margins[1], float(size[2]))
    in_plane, circle = rng.random() < _CUT_SHARE, rng.random() < _ROUND_SHARE
    field_mm, off_mm = rng.uniform(*_FIELD_MM), rng.uniform(-_OFF_CENTRE_MM, _OFF_CENTRE_MM, 2)
    middle = [(first[axis] + last[axis] + 1) / 2 + off_mm[axis] / spacing_mm[axis] for axis in range(2)]
    if in_plane:
        for axis in range(2):
            half = field_mm / 2 / spacing_mm[axis]
            low[axis], high[axis] = max(middle[axis] - half, 0.0), min(middle[axis] + half, float(size[axis]))
    inside = _covered(low, high, size)
    if in_plane and circle:
        inside = inside * _disc(middle, field_mm / 2, size, spacing_mm)[:, :, None]
    inside = inside.to(stack.device)
    stack[0].sub_(AIR_HU).mul_(inside).add_(AIR_HU)
    stack[1].mul_(inside)
    shift = [
        (n - (int(np.ceil(end)) - int(start))) // 2 - int(start)
        for n, start, end in zip(size, low, high, strict=True)
    ]
    # what is rolled in from the other side is air
    return stack.roll(shift, dims=(1, 2, 3))


def cut_short(
    ct: Volume, heart: np.ndarray, *, field_mm: float, margin_mm: float
) -> tuple[Volume, np.ndarray]:
    """A scan as a dedicated calcium scan would show it: little more than the heart.

    Args:
        ct: HU, RAS+.
        heart: its true heart, shape (x, y, z) of ``ct``, not empty.
        field_mm: side of the square field of view around the heart; not less than the heart.
        margin_mm: what stays below and above the heart.

    Returns:
        The part of the scan, and that of the mask.
    """
    box = mask_box(heart, (0, 0, 0))
    if box is None:
        raise ValueError("a scan is cropped to its heart, and the mask is empty")
    first, end = box
    spacing = np.asarray(ct.spacing_mm)
    half = np.maximum(field_mm / 2 / spacing[:2], (end - first)[:2] / 2)
    middle = (first + end)[:2] / 2
    low = np.rint([*(middle - half), first[2] - margin_mm / spacing[2]]).astype(int).clip(0)
    high = np.rint([*(middle + half), end[2] + margin_mm / spacing[2]]).astype(int).clip(0, ct.shape)
    part = tuple(map(slice, low, high))
    grid = crop_grid(grid_of(ct), low, high)
    return Volume(np.asfortranarray(ct.array[part]), grid.affine), heart[part]


def _covered(low: np.ndarray, high: np.ndarray, size: Sequence[int]) -> torch.Tensor:
    """Share of each voxel that lies between ``low`` and ``high``, shape (x, y, z)."""
    axes = []
    for start, end, n in zip(low, high, size, strict=True):
        place = torch.arange(n, dtype=torch.float32)
        axes.append(((place + 1).clamp(max=float(end)) - place.clamp(min=float(start))).clamp(0, 1))
    return axes[0][:, None, None] * axes[1][None, :, None] * axes[2][None, None, :]


def _disc(
    middle: Sequence[float], radius_mm: float, size: Sequence[int], spacing_mm: Sequence[float]
) -> torch.Tensor:
    """Whether the centre of a column of voxels lies in the circle, shape (x, y)."""
    x, y = ((torch.arange(size[axis]) + 0.5 - middle[axis]) * spacing_mm[axis] for axis in range(2))
    return (x[:, None] ** 2 + y[None, :] ** 2 <= radius_mm**2).float()
