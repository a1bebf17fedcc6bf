"""Features of a block: intensity, edges, texture, and its place between the lungs.

Filters have their widths in millimetres, so they fit the scan's own anisotropic grid. All features are
rounded to whole numbers; Gaussians are correlations with rounded taps and Hessians enter by their invariants,
so no feature depends on how a processor adds or takes roots of matrices.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy import ndimage

from coronet.annotation.block_grid import BlockMeans, Body
from coronet.imaging.filters import blur_mm

_SCALES_MM = (5.0, 10.0)
_WIDE_MM = (12.0, 24.0)
_FAR_MM = 150  # distances are counted up to here


@dataclasses.dataclass(frozen=True)
class BlockFeatures:
    """Features of chosen blocks."""

    blocks: BlockMeans
    body: Body
    where: np.ndarray  # bool blocks (x, y, z) that are described
    values: np.ndarray  # int16 (n, f), in the order of ``np.nonzero(where)``
    names: tuple[str, ...]


def block_features(blocks: BlockMeans, body: Body, where: np.ndarray) -> BlockFeatures:
    """Features of the blocks ``where`` is true."""
    columns: list[np.ndarray] = []
    names: list[str] = []

    def keep(name: str, values: np.ndarray) -> None:
        picked = values[where] if values.shape == where.shape else values
        columns.append(np.clip(np.rint(picked), -32_000, 32_000).astype(np.int16))
        names.append(name)

    _appearance(blocks, keep)
    _surroundings(blocks, body, keep)
    _place(blocks, body, where, keep)
    return BlockFeatures(blocks, body, where, np.stack(columns, axis=1), tuple(names))


def _appearance(blocks: BlockMeans, keep: Callable[[str, np.ndarray], None]) -> None:
    keep("hu", blocks.soft)
    keep("spread", blocks.spread)
    for width in _SCALES_MM:
        smooth = blur_mm(blocks.soft, width, blocks.spacing_mm)
        keep(f"hu {width:g} mm", smooth)
        slopes = [_slope(smooth, axis, blocks.spacing_mm[axis]) for axis in range(3)]
        keep(f"gradient {width:g} mm", 10 * np.sqrt(_squares(*slopes)))
        second = {(i, j): _slope(slopes[i], j, blocks.spacing_mm[j]) for i in range(3) for j in range(i, 3)}
        keep(f"laplacian {width:g} mm", 50 * (second[0, 0] + second[1, 1] + second[2, 2]))
        cross = _squares(second[0, 1], second[0, 2], second[1, 2])
        keep(
            f"hessian {width:g} mm",
            50 * np.sqrt(_squares(second[0, 0], second[1, 1], second[2, 2]) + 2 * cross),
        )
        rough = blur_mm(np.square(blocks.soft - smooth), width, blocks.spacing_mm)
        keep(f"texture {width:g} mm", np.sqrt(np.maximum(rough, 0)))


def _slope(values: np.ndarray, axis: int, step_mm: float) -> np.ndarray:
    taps = [-0.5, 0.0, 0.5]
    return ndimage.correlate1d(values, taps, axis=axis, mode="nearest") / np.float32(step_mm)


def _squares(*parts: np.ndarray) -> np.ndarray:
    return sum(part * part for part in parts)


def _surroundings(blocks: BlockMeans, body: Body, keep: Callable[[str, np.ndarray], None]) -> None:
    for width in _WIDE_MM:
        keep(f"lung around {width:g} mm", 1000 * blur_mm(body.lungs, width, blocks.spacing_mm))
        keep(f"hu {width:g} mm", blur_mm(blocks.soft, width, blocks.spacing_mm))
    depth = _distance(body.lungs, blocks)
    keep("from lung", 4 * depth)
    within = np.where(body.tissue, depth, 0)
    size = [2 * round(15 / step) + 1 for step in blocks.spacing_mm]
    keep("thickness", 4 * ndimage.maximum_filter(within, size))
    keep("from bone", 4 * _distance(blocks.hu >= 180, blocks))
    for axis, (below, above) in enumerate((("left", "right"), ("back", "front"), ("feet", "head"))):
        keep(f"lung towards {below}", _run(body.lungs, axis, blocks.spacing_mm[axis]))
        flipped = np.flip(body.lungs, axis)
        keep(f"lung towards {above}", np.flip(_run(flipped, axis, blocks.spacing_mm[axis]), axis))


def _distance(where: np.ndarray, blocks: BlockMeans) -> np.ndarray:
    """Distance in mm to the nearest block of ``where``, float32, up to `_FAR_MM`."""
    if not where.any():
        return np.full(where.shape, _FAR_MM, np.float32)
    found = ndimage.distance_transform_edt(~where, sampling=blocks.spacing_mm)
    return np.minimum(found, _FAR_MM).astype(np.float32)


def _run(where: np.ndarray, axis: int, step_mm: float) -> np.ndarray:
    """Distance in mm along an axis, towards its lower end, to the nearest block of ``where``."""
    shape = [-1 if i == axis else 1 for i in range(3)]
    place = np.arange(where.shape[axis], dtype=np.int32).reshape(shape)
    last = np.maximum.accumulate(np.where(where, place, np.int32(-10_000)), axis=axis)
    return np.minimum((place - last) * np.float32(step_mm), _FAR_MM)


def _place(
    blocks: BlockMeans, body: Body, where: np.ndarray, keep: Callable[[str, np.ndarray], None]
) -> None:
    """Where a block is, in mm from the middle of lungs and body and as share of the lungs' size."""
    index = np.nonzero(where)
    relative = []
    for axis, name in enumerate(("x", "y", "z")):
        step = np.float32(blocks.spacing_mm[axis])
        low, middle, high = body.lungs_at[axis]
        relative.append((index[axis] - middle) * step)
        keep(f"{name} from lungs", 4 * relative[axis])
        keep(f"{name} share of lungs", (index[axis] - low) * np.float32(1000 / max(high - low, 1)))
        if name != "z":
            keep(f"{name} from body", 4 * (index[axis] - body.body_at[axis][1]) * step)
    x, y, z = relative
    for name, oblique in {
        "x+y": x + y, "x-y": x - y, "x+z": x + z, "x-z": x - z, "y+z": y + z, "y-z": y - z
    }.items():  # fmt: skip
        keep(name, 3 * oblique)
