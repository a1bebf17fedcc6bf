"""Deposits of calcium or metal, as chains of soft-edged balls, and their share of a scan's voxels.

Every array operation here is one whose result IEEE 754 fixes to the last bit, so that a seed gives the same
bytes on every processor.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math

import numpy as np

from coronet.io.volume import triple

_TRUTH_GRID_MM = 0.2  # edge of the cubes in which a deposit's true volume is counted
_LONG_WAY_MM = 2.0  # motion to either side from which on more places are taken
_MOST_CUBES = 110
"""A larger deposit is counted in larger cubes, so that no edge of its box holds more of them."""


@dataclasses.dataclass(frozen=True)
class Deposit:
    """One calcification or piece of metal."""

    name: str  # unique within a patient, such as ``coronary-03``
    kind: str  # ``coronary`` or the kind of a confounder
    vessel: str  # ``LM``, ``LAD``, ``LCX`` or ``RCA`` for coronary ones, else empty
    shape: str  # how it was drawn, such as ``spot``, ``arc`` or ``track``
    centres_mm: np.ndarray  # (n, 3) centres of the balls, RAS+
    # (n,) radii of the balls; the edge of a ball is where its substance has fallen to half
    radii_mm: np.ndarray
    hu: np.ndarray  # (n,) HU of the substance in each ball
    edge_mm: float = 0.5  # width over which the substance falls from all to nothing
    # (3,) how far the beating heart smears it to either side
    motion_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    # (3,) how far the middle of that way bends sideways
    bow_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    fine_mm: float = 0.34  # edge of the subvoxels that it is counted in

    def box_mm(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corner (3,) of the box that holds all of it, in mm."""
        reach = self.radii_mm[:, None] + self.edge_mm
        return (self.centres_mm - reach).min(axis=0), (self.centres_mm + reach).max(axis=0)


@dataclasses.dataclass(frozen=True)
class VoxelShare:
    """How much of each voxel of a box a deposit fills, after slice profile and motion, before the blur."""

    box: tuple[slice, slice, slice]  # where in the scan
    filled: np.ndarray  # (x, y, z) float32 share of the voxel, 0..1
    substance: np.ndarray  # (x, y, z) float32 share × HU of the substance


def _paint_balls(
    deposit: Deposit, origin_mm: tuple[float, float, float], step_mm: tuple[float, float, float], shape: tuple
) -> tuple[np.ndarray, np.ndarray]:
    """Share and HU of the substance in each cell of a fine grid.

    Args:
        origin_mm: centre of the first cell.
        step_mm: distance of neighbouring cells along (x, y, z).

    Returns:
        Share 0..1 and HU, both float32 (x, y, z); where balls overlap, the one that fills a cell more counts.
    """
    filled = np.zeros(shape, np.float32)
    hu = np.zeros(shape, np.float32)
    for centre, radius, value in zip(deposit.centres_mm, deposit.radii_mm, deposit.hu, strict=True):
        reach = float(radius) + deposit.edge_mm
        window, squares = [], []
        for axis in range(3):
            first = math.floor((centre[axis] - reach - origin_mm[axis]) / step_mm[axis])
            last = math.ceil((centre[axis] + reach - origin_mm[axis]) / step_mm[axis]) + 1
            first, last = max(first, 0), min(last, shape[axis])
            if first >= last:
                break
            offset = origin_mm[axis] + np.arange(first, last) * step_mm[axis] - centre[axis]
            window.append(slice(first, last))
            squares.append((offset * offset).astype(np.float32))
        if len(window) < 3:
            continue
        distance = np.sqrt(squares[0][:, None, None] + squares[1][:, None] + squares[2])
        share = (np.float32(radius) - distance) / np.float32(deposit.edge_mm) + np.float32(0.5)
        share = np.minimum(np.maximum(share, np.float32(0)), np.float32(1))
        here = tuple(window)
        more = share > filled[here]
        filled[here][more] = share[more]
        hu[here][more] = np.float32(value)
    return filled, hu


def true_volume_mm3(deposit: Deposit) -> float:
    """Volume of the substance, counted on a fine grid of its own, in mm³."""
    low, high = deposit.box_mm()
    widest = float((high - low).max())
    step = max(_TRUTH_GRID_MM, deposit.fine_mm / 2, widest / _MOST_CUBES)
    shape = tuple(math.ceil((b - a) / step) for a, b in zip(low, high, strict=True))
    filled, _ = _paint_balls(deposit, triple(low + step / 2), (step, step, step), shape)
    parts = int(np.rint(filled * np.float32(255)).astype(np.int64).sum())
    return round(parts / 255 * step**3, 3)


def share_of_voxels(
    deposit: Deposit, affine: np.ndarray, shape: tuple[int, int, int], *, thickness_mm: float, margin: int
) -> VoxelShare | None:
    """How a deposit fills the voxels of an axis-aligned scan, with partial volume.

    Args:
        affine: 4 × 4 of the scan, diagonal but for its offset.
        shape: (x, y, z) of the scan.
        thickness_mm: width of the rectangular slice profile along z.
        margin: voxels to leave free around it in plane, for the blur to come.

    Returns:
        The share, cut to the scan, or None where the scan holds nothing of it.
    """
    spacing = triple(float(affine[axis, axis]) for axis in range(3))
    offset = triple(float(affine[axis, 3]) for axis in range(3))
    parts = triple(max(1, math.ceil(step / deposit.fine_mm)) for step in spacing)
    low, high = deposit.box_mm()
    motion = np.abs(np.asarray(deposit.motion_mm, dtype=np.float64))
    motion = motion + np.abs(np.asarray(deposit.bow_mm, dtype=np.float64))
    pads = (margin, margin, math.ceil(thickness_mm / spacing[2] / 2) + 1)
    start, count = [], []
    for axis in range(3):
        first = math.floor((low[axis] - motion[axis] - offset[axis]) / spacing[axis]) - pads[axis]
        last = math.ceil((high[axis] + motion[axis] - offset[axis]) / spacing[axis]) + pads[axis] + 1
        if first >= shape[axis] or last <= 0:
            return None
        start.append(first)
        count.append(last - first)
    fine_step = triple(step / n for step, n in zip(spacing, parts, strict=True))
    fine_origin = triple(offset[i] + spacing[i] * (start[i] - 0.5) + fine_step[i] / 2 for i in range(3))
    fine_shape = tuple(n * k for n, k in zip(count, parts, strict=True))
    filled, hu = _paint_balls(deposit, fine_origin, fine_step, fine_shape)
    substance = filled * hu
    places = _places_of_motion(deposit, fine_step)
    profile = max(1, round(thickness_mm / fine_step[2]))
    coarse = [
        _gather(_smear(field, places), parts=parts, profile=profile, slices=count[2])
        for field in (filled, substance)
    ]
    inside = [(max(a, 0), min(a + n, limit)) for a, n, limit in zip(start, count, shape, strict=True)]
    cut = tuple(slice(a - s, b - s) for (a, b), s in zip(inside, start, strict=True))
    return VoxelShare(triple(slice(a, b) for a, b in inside), coarse[0][cut], coarse[1][cut])


def _places_of_motion(deposit: Deposit, step_mm: tuple[float, float, float]) -> list[tuple[int, int, int]]:
    """Where the beating heart carries a deposit, in fine cells: five places, nine on a long way."""
    shift = triple(round(m / step) for m, step in zip(deposit.motion_mm, step_mm, strict=True))
    bow = triple(round(m / step) for m, step in zip(deposit.bow_mm, step_mm, strict=True))
    if not any(shift) and not any(bow):
        return [(0, 0, 0)]
    parts = [0.0, -1.0, -0.5, 0.5, 1.0]
    if max(map(abs, deposit.motion_mm)) > _LONG_WAY_MM:
        parts += [-0.75, -0.25, 0.25, 0.75]
    return [
        triple(round(part * s + (1.0 - part * part) * b) for s, b in zip(shift, bow, strict=True))
        for part in parts
    ]


def _smear(field: np.ndarray, places: list[tuple[int, int, int]]) -> np.ndarray:
    """Mean of the field moved to each place; its rim is empty, so rolling is safe."""
    if len(places) == 1:
        return field
    total = np.roll(field, places[0], axis=(0, 1, 2))
    for place in places[1:]:
        total += np.roll(field, place, axis=(0, 1, 2))
    return total * np.float32(1 / len(places))


def _gather(field: np.ndarray, *, parts: tuple[int, int, int], profile: int, slices: int) -> np.ndarray:
    """Mean over the fine cells of each voxel, and along z over ``profile`` cells centred on each slice."""
    starts = itertools.product(range(parts[0]), range(parts[1]))
    plane = functools.reduce(np.add, (field[i :: parts[0], j :: parts[1]] for i, j in starts))
    lead = (profile - parts[2]) // 2 if profile > parts[2] else 0
    skip = (parts[2] - profile) // 2 if profile < parts[2] else 0
    total = np.zeros((*plane.shape[:2], slices), np.float32)
    for step in range(profile):
        first = skip + step - lead
        source = plane[:, :, first % parts[2] :: parts[2]][:, :, :slices]
        whole = first // parts[2]
        if whole == 0:
            total += source
        elif whole > 0:
            total[:, :, :-whole] += source[:, :, whole:]
        else:
            total[:, :, -whole:] += source[:, :, :whole]
    return total * np.float32(1.0 / (parts[0] * parts[1] * profile))
