"""The coarse grid on which a heart is segmented: block means of a few millimetres.

A block is a whole number of voxels along each axis, so that its mean is a sum of whole numbers: exact,
quick, and the same on every processor. The scan is read slab by slab; nothing of its own size is held.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import ndimage

from coronet.io.volume import Volume, triple

_BLOCK_MM = 4.0
_SOFT_HU = (-200, 300)
_AIR_BELOW_HU = -500
_TISSUE_FROM_HU = -300
_LEAST_LUNG_ML = 150
_MARGIN_MM = 60.0  # around heart strokes


@dataclasses.dataclass(frozen=True)
class BlockMeans:
    """A scan in blocks."""

    factor: tuple[int, int, int]  # voxels of a block along x, y, z; the last block of an axis may hold fewer
    spacing_mm: tuple[float, float, float]
    shape: tuple[int, int, int]
    hu: np.ndarray  # float32 means (x, y, z) of the whole range
    soft: np.ndarray  # float32 means after clipping to `_SOFT_HU`
    spread: np.ndarray  # float32 standard deviations within a block after that clipping, HU
    first: tuple[int, int, int] = (0, 0, 0)  # which block of the scan the first one here is

    def blocks_of(self, index: np.ndarray) -> np.ndarray:
        """Blocks (n, 3) of voxels (n, 3); some may lie outside."""
        return index // np.asarray(self.factor) - np.asarray(self.first)

    def inside(self, index: np.ndarray) -> np.ndarray:
        """Which blocks (n, 3) there are."""
        return np.all((index >= 0) & (index < self.hu.shape), axis=1)

    def within(self, box: tuple[slice, slice, slice]) -> BlockMeans:
        """A part of the blocks."""
        first = tuple(old + side.start for old, side in zip(self.first, box, strict=True))
        return dataclasses.replace(
            self, hu=self.hu[box], soft=self.soft[box], spread=self.spread[box], first=first
        )


@dataclasses.dataclass(frozen=True)
class Body:
    """Body and lungs, from which places in a chest are measured, as bool blocks."""

    body: np.ndarray
    lungs: np.ndarray  # air inside, in pieces of at least `_LEAST_LUNG_ML`
    tissue: np.ndarray  # of the body, neither air nor lung: where a heart can be
    # for x, y, z the blocks below which 2, 50 and 98 per cent of the body lie
    body_at: tuple[tuple[int, int, int], ...]
    # the same of the lungs, or of the body where there are no lungs
    lungs_at: tuple[tuple[int, int, int], ...]

    def within(self, box: tuple[slice, slice, slice]) -> Body:
        """A part of the blocks; the places stay those of the whole, counted from the part's first block."""
        moved = {
            name: tuple(
                tuple(place - side.start for place in places)
                for places, side in zip(getattr(self, name), box, strict=True)
            )
            for name in ("body_at", "lungs_at")
        }
        return Body(self.body[box], self.lungs[box], self.tissue[box], **moved)


def block_means(volume: Volume) -> BlockMeans:
    """The scan in blocks of about `_BLOCK_MM`."""
    spacing = volume.spacing_mm
    factor = triple(max(1, round(_BLOCK_MM / step)) for step in spacing)
    size = triple(-(-count // step) for count, step in zip(volume.shape, factor, strict=True))
    hu, soft, spread = (np.empty(size, np.float32) for _ in range(3))
    # a scan lies in memory plane by plane
    for level in range(size[2]):
        slab = volume.array[:, :, level * factor[2] : (level + 1) * factor[2]].T
        slab = (slab if slab.dtype == np.int16 else np.rint(slab)).astype(np.int32)
        clipped = np.clip(slab, *_SOFT_HU)
        count = _sums(np.ones(slab.shape[1:], np.int32), factor) * len(slab)
        hu[:, :, level] = _sums(np.clip(slab, -1024, 3000).sum(axis=0), factor) / count
        total, squares = _sums(clipped.sum(axis=0), factor), _sums((clipped * clipped).sum(axis=0), factor)
        soft[:, :, level] = total / count
        spread[:, :, level] = np.sqrt(np.maximum(squares * count - total * total, 0)) / count
    steps = triple(step * many for step, many in zip(spacing, factor, strict=True))
    return BlockMeans(factor, steps, volume.shape, hu, soft, spread)


def _sums(plane: np.ndarray, factor: tuple[int, int, int]) -> np.ndarray:
    """Sums over the blocks of a plane (y, x): int64 (x, y)."""
    rows = np.add.reduceat(plane, np.arange(0, plane.shape[0], factor[1]), axis=0, dtype=np.int64)
    return np.add.reduceat(rows, np.arange(0, plane.shape[1], factor[0]), axis=1).T


def find_body(blocks: BlockMeans) -> Body:
    """Body and lungs; where there are no lungs in view, ``lungs`` is empty."""
    plane = np.zeros((3, 3, 3), bool)
    plane[:, 1, 1] = plane[1, :, 1] = True
    solid = blocks.hu >= _TISSUE_FROM_HU
    parts, count = ndimage.label(solid)
    if count:
        solid = parts == 1 + np.argmax(np.bincount(parts.ravel(), minlength=count + 1)[1:])
    holes, count = ndimage.label(~solid, plane)
    rim = np.zeros(count + 1, bool)
    for edge in (holes[0], holes[-1], holes[:, 0], holes[:, -1]):
        rim[edge.ravel()] = True
    rim[0] = False
    body = solid | ~rim[holes]
    air = body & (blocks.hu < _AIR_BELOW_HU)
    parts, count = ndimage.label(air)
    litres = np.bincount(parts.ravel(), minlength=count + 1) * _block_ml(blocks)
    litres[0] = 0
    lungs = (litres >= _LEAST_LUNG_ML)[parts]
    body_at = tuple(_quantiles(body, axis) for axis in range(3))
    lungs_at = tuple(_quantiles(lungs, axis) for axis in range(3)) if lungs.any() else body_at
    return Body(body, lungs, body & ~air, body_at, lungs_at)


def chest_box(blocks: BlockMeans, body: Body, wanted: np.ndarray) -> tuple[slice, slice, slice]:
    """The blocks between which a heart lies: those of the lungs, and of ``wanted`` (n, 3) with a margin."""
    box = []
    margin = [round(_MARGIN_MM / step) for step in blocks.spacing_mm]
    for axis, (low, _, high) in enumerate(body.lungs_at):
        ends = [low - 2, high + 2, *(wanted[:, axis] - margin[axis]), *(wanted[:, axis] + margin[axis])]
        box.append(slice(max(int(min(ends)), 0), min(int(max(ends)) + 1, blocks.hu.shape[axis])))
    return triple(box)


def _quantiles(mask: np.ndarray, axis: int) -> tuple[int, int, int]:
    count = np.cumsum(mask.sum(axis=tuple(i for i in range(3) if i != axis), dtype=np.int64))
    if not count[-1]:
        return 0, len(count) // 2, len(count) - 1
    return triple(int(np.searchsorted(count * 100, count[-1] * share)) for share in (2, 50, 98))


def _block_ml(blocks: BlockMeans) -> float:
    x, y, z = blocks.spacing_mm
    return x * y * z / 1000
