"""Windows over a prepared scan: where training draws them and how inference covers a scan with them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch


def window_starts(length: int, window: int, overlap: float) -> tuple[int, ...]:
    """First voxels of windows that cover an axis, evenly spread, neighbours sharing at least ``overlap``."""
    if length <= window:
        return (0,)
    step = max(1, int(window * (1.0 - overlap)))
    count = int(np.ceil((length - window) / step)) + 1
    return tuple(round(value) for value in np.linspace(0, length - window, count))


def tile_weights(shape: Sequence[int]) -> torch.Tensor:
    """Weights that fade towards a window's rim (a Gaussian of a quarter window), shape (x, y, z)."""
    axes = []
    for size in shape:
        offset = (torch.arange(size, dtype=torch.float32) - (size - 1) / 2) / (size / 4)
        axes.append(torch.exp(-0.5 * offset**2))
    return axes[0][:, None, None] * axes[1][None, :, None] * axes[2][None, None, :]


def _padding(shape: Sequence[int], window: Sequence[int]) -> list[tuple[int, int]]:
    """Voxels to add (before, after) along each axis so that a window fits, the scan in the middle."""
    return [
        ((w - n) // 2, w - n - (w - n) // 2) if n < w else (0, 0) for n, w in zip(shape, window, strict=True)
    ]


def sliding_window(
    values: torch.Tensor,
    predict: Callable[[torch.Tensor], torch.Tensor],
    *,
    window: Sequence[int],
    overlap: float,
    batch: int,
    fill: float,
    wanted: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cover ``values`` with overlapping windows and put the predictions together again.

    Args:
        values: shape (x, y, z).
        predict: maps (n, 1, *window) to the same shape.
        window: voxels (x, y, z).
        overlap: share of a window that neighbours have in common, 0 ≤ overlap < 1.
        batch: windows a call of ``predict`` gets at most.
        fill: what lies outside of ``values`` where a window is larger.
        wanted: boolean (x, y, z); a window without a true voxel is skipped and stays 0.

    Returns:
        float32, shape (x, y, z).
    """
    pads = _padding(values.shape, window)
    flat = [size for pair in reversed(pads) for size in pair]
    padded = torch.nn.functional.pad(values, flat, value=fill)
    region = None if wanted is None else torch.nn.functional.pad(wanted, flat, value=False)
    total = torch.zeros_like(padded, dtype=torch.float32)
    weight = torch.zeros_like(total)
    fade = tile_weights(window).to(values.device)
    for places in _batched(_places(padded.shape, window, overlap, region), batch):
        tiles = torch.stack([padded[place] for place in places]).unsqueeze(1)
        for place, tile in zip(places, predict(tiles).squeeze(1).float(), strict=True):
            total[place] += tile * fade
            weight[place] += fade
    inner = tuple(
        slice(before, size - after) for (before, after), size in zip(pads, padded.shape, strict=True)
    )
    return (total / weight.clamp_min(torch.finfo(torch.float32).tiny))[inner]


def _places(
    shape: Sequence[int], window: Sequence[int], overlap: float, region: torch.Tensor | None
) -> Iterator[tuple[slice, ...]]:
    axes = [window_starts(n, w, overlap) for n, w in zip(shape, window, strict=True)]
    for corner in itertools.product(*axes):
        place = tuple(slice(first, first + size) for first, size in zip(corner, window, strict=True))
        if region is None or bool(region[place].any()):
            yield place


def _batched(items: Iterator[tuple[slice, ...]], size: int) -> Iterator[list[tuple[slice, ...]]]:
    while chunk := list(itertools.islice(items, size)):
        yield chunk
