"""Finding copies of one scan: the same chest, turned, bent, blurred, mirrored or changed in intensity.

Each scan is averaged into a picture of 6 mm cells around the centre of its lungs. Two pictures are compared
twice. Coarsely, by correlation of 18 mm cells over all mirrorings and a grid of rotations, as matrix
products: that gives each scan its few likeliest copies and how they would have been turned. Then finely:
one picture is turned to fit the other, and every block of 36 mm seeks its best match within 12 mm. In a copy
the blocks find their own vessels, ribs and fat again, however bent; in another patient they find none.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from coronet.cohort.volume import AIR_HU, Volume

CELL_MM = 6.0
CELLS = (60, 48, 48)
"""Cells of a picture along (x, y, z): 360 × 288 × 288 mm around the centre of the lungs."""
COARSER = 3
BLOCK = 6
REACH = 2
ANGLES_DEG = (-10.0, -5.0, 0.0, 5.0, 10.0)
CANDIDATES = 4
"""How many likeliest copies of each scan are compared finely."""
AIR_BELOW_HU = -500
LEAST_LUNG_SHARE = 0.01
LEAST_LUNG_BLOCK = 0.4
"""Least share of a block inside the lungs."""
LEAST_TEXTURE_HU = 20.0
LEAST_BLOCKS = 6
VESSEL_HU = -200


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two scans and how unlike they are: 0 for the same picture, towards 1 for unrelated ones."""

    first: str
    second: str
    distance: float


def picture(volume: Volume) -> np.ndarray:
    """Average ``volume`` (HU, any spacing and orientation) into ``CELLS`` cells, float16."""
    values, positions = _sample(volume)
    centre = _centre(values, positions)
    values = values.ravel()
    index = [
        np.floor((positions[axis] - centre[axis]) / CELL_MM + CELLS[axis] / 2).astype(np.int64)
        for axis in range(3)
    ]
    inside = np.logical_and.reduce([(index[axis] >= 0) & (index[axis] < CELLS[axis]) for axis in range(3)])
    flat = np.ravel_multi_index([axis[inside] for axis in index], CELLS)
    size = int(np.prod(CELLS))
    count = np.bincount(flat, minlength=size)
    total = np.bincount(flat, weights=values[inside], minlength=size)
    mean = np.divide(total, count, out=np.full(size, np.nan), where=count > 0).reshape(CELLS)
    return _filled(mean).astype(np.float16)


def pairs(names: Sequence[str], pictures: Sequence[np.ndarray], persons: Sequence[str]) -> tuple[Pair, ...]:
    """Distance of each scan to its likeliest copies among the scans of other persons, nearest first.

    Args:
        names: name of each scan.
        pictures: `picture` of each scan, in the same order.
        persons: whose scan it is, in the same order; scans of one person are not compared.
    """
    if len(names) < 2:
        return ()
    likeness, pose = _coarse(pictures)
    other = np.array(persons)[:, None] != np.array(persons)[None, :]
    likeness[~other] = -2
    chosen = {
        tuple(sorted((i, int(j))))
        for i in range(len(names))
        for j in np.argsort(-likeness[i], kind="stable")[:CANDIDATES]
        if other[i, j]
    }
    found = []
    for pair in sorted(chosen):
        fixed, moving = pair if likeness[pair] >= likeness[pair[::-1]] else pair[::-1]
        turned = _turn(np.asarray(pictures[moving], np.float32), pose[fixed, moving])
        distance = _fine(np.asarray(pictures[fixed], np.float32), turned)
        found.append(Pair(*sorted((names[fixed], names[moving])), round(distance, 4)))
    return tuple(sorted(found, key=lambda pair: (pair.distance, pair.first, pair.second)))


def _sample(volume: Volume) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Every few voxels (about 3 mm apart) of the volume, and their places in mm along each axis, flat."""
    steps = [max(1, round(3.0 / spacing)) for spacing in volume.spacing_mm]
    values = volume.array[:: steps[0], :: steps[1], :: steps[2]].astype(np.float32)
    grids = np.meshgrid(
        *(np.arange(0, size, step, dtype=np.float32) for size, step in zip(volume.shape, steps, strict=True)),
        indexing="ij",
        sparse=True,
    )
    affine = np.asarray(volume.affine, np.float32)
    positions = tuple(
        np.broadcast_to(
            sum(affine[axis, index] * grid for index, grid in enumerate(grids)), values.shape
        ).ravel()
        for axis in range(3)
    )
    return np.maximum(np.nan_to_num(values, nan=AIR_HU), AIR_HU), positions


def _centre(values: np.ndarray, positions: tuple[np.ndarray, ...]) -> list[float]:
    """Centre in mm of the air that no axial slice joins to its border, or of the body where there is none."""
    from scipy import ndimage

    air = values < AIR_BELOW_HU
    in_plane = np.zeros((3, 3, 3), bool)
    in_plane[:, 1, 1] = in_plane[1, :, 1] = True
    labels, count = ndimage.label(air, in_plane)
    outer = np.zeros(count + 1, bool)
    outer[0] = True
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        outer[edge] = True
    lungs = ~outer[labels]
    chosen = lungs if lungs.mean() > LEAST_LUNG_SHARE else ~air
    weights = chosen.ravel().astype(np.float64)
    if not weights.any():
        weights[:] = 1
    return [float(np.average(place, weights=weights)) for place in positions]


def _filled(mean: np.ndarray) -> np.ndarray:
    """Give cells between thick slices the value of the nearest slice, and those out of view that of air."""
    empty = np.isnan(mean)
    seen = np.flatnonzero(~empty.all(axis=(0, 1)))
    if seen.size:
        for z in range(seen[0], seen[-1] + 1):
            nearest = seen[np.abs(seen - z).argmin()]
            mean[:, :, z] = np.where(empty[:, :, z], mean[:, :, nearest], mean[:, :, z])
    return np.nan_to_num(mean, nan=AIR_HU)


def _coarse(pictures: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Best correlation of each picture with every other turned to fit it, and the number of that pose."""
    cells = [size // COARSER for size in CELLS]
    shape = [number for size in cells for number in (size, COARSER)]
    stack = np.stack([np.asarray(item, np.float32).reshape(shape).mean(axis=(1, 3, 5)) for item in pictures])
    stack = np.clip(stack, AIR_HU, 300)
    still = _standard(stack.reshape(len(stack), -1))
    best = np.full((len(stack), len(stack)), -2.0, np.float32)
    pose = np.zeros_like(best, dtype=np.int64)
    number = 0
    for axes in _mirrorings():
        mirrored = np.flip(stack, [axis + 1 for axis in axes]).reshape(len(stack), -1).T
        for matrix in _rotations():
            likeness = still @ _standard((matrix @ mirrored).T).T
            better = likeness > best
            best[better] = likeness[better]
            pose[better] = number
            number += 1
    return best, pose


def _standard(rows: np.ndarray) -> np.ndarray:
    """Each row with mean 0 and length 1, so that a product of two rows is their correlation."""
    rows = rows - rows.mean(axis=-1, keepdims=True)
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    return (rows / np.maximum(length, 1e-6)).astype(np.float32)


def _mirrorings() -> list[tuple[int, ...]]:
    return [axes for count in range(4) for axes in itertools.combinations(range(3), count)]


def _turning(angles_deg: tuple[float, ...]) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    return Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()


@functools.cache
def _rotations() -> tuple[Any, ...]:
    """Sparse matrices that turn a flat coarse picture about its centre, by trilinear interpolation."""
    cells = np.array(CELLS) // COARSER
    centre = (cells - 1) / 2
    targets = np.stack(np.meshgrid(*map(np.arange, cells), indexing="ij"), -1).reshape(-1, 3)
    return tuple(
        _interpolation((targets - centre) @ _turning(angles).T + centre, cells)
        for angles in itertools.product(ANGLES_DEG, repeat=3)
    )


def _interpolation(places: np.ndarray, cells: np.ndarray) -> Any:
    """Sparse matrix from a flat picture to its values at ``places`` (n, 3), the nearest cell's outside."""
    from scipy import sparse

    places = np.clip(places, 0, cells - 1)
    low = np.minimum(np.floor(places).astype(np.int64), cells - 2)
    part = places - low
    columns = [
        np.ravel_multi_index((low + corner).T, tuple(cells)) for corner in itertools.product((0, 1), repeat=3)
    ]
    weights = [
        np.prod(np.where(corner, part, 1 - part), axis=1) for corner in itertools.product((0, 1), repeat=3)
    ]
    rows = np.tile(np.arange(len(places)), 8)
    size = int(np.prod(cells))
    content = (np.concatenate(weights).astype(np.float32), (rows, np.concatenate(columns)))
    return sparse.csr_matrix(content, shape=(len(places), size))


def _turn(image: np.ndarray, pose: int) -> np.ndarray:
    """``image`` in the pose numbered as `_coarse` numbers them."""
    from scipy import ndimage

    mirroring, angle = divmod(int(pose), len(ANGLES_DEG) ** 3)
    angles = list(itertools.product(ANGLES_DEG, repeat=3))[angle]
    matrix = _turning(angles)
    centre = (np.array(CELLS) - 1) / 2
    mirrored = np.flip(image, _mirrorings()[mirroring])
    return ndimage.affine_transform(mirrored, matrix, centre - matrix @ centre, order=1, mode="nearest")


def _fine(fixed: np.ndarray, moving: np.ndarray) -> float:
    """1 - the median over blocks in the lungs of ``fixed`` of the best local correlation with ``moving``."""
    from scipy import ndimage

    lungs = ndimage.binary_erosion(fixed < AIR_BELOW_HU)
    fixed, moving = (np.clip(image, AIR_HU, VESSEL_HU) for image in (fixed, moving))
    weights = _blocks(lungs.astype(np.float32))
    blocks = _blocks(fixed)
    share = weights.mean(axis=1)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1)
    blocks = blocks - (weights * blocks).sum(axis=1, keepdims=True)
    power = (weights * blocks**2).sum(axis=1)
    kept = (share > LEAST_LUNG_BLOCK) & (power > LEAST_TEXTURE_HU**2)
    if kept.sum() < LEAST_BLOCKS:
        return 1.0
    blocks, weights, power = blocks[kept], weights[kept], power[kept]
    padded = np.pad(moving, REACH, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (BLOCK + 2 * REACH,) * 3)
    windows = windows[::BLOCK, ::BLOCK, ::BLOCK].reshape(-1, *(BLOCK + 2 * REACH,) * 3)[kept]
    best = np.full(len(blocks), -1.0, np.float32)
    weighted = weights * blocks
    for x, y, z in itertools.product(range(2 * REACH + 1), repeat=3):
        part = windows[:, x : x + BLOCK, y : y + BLOCK, z : z + BLOCK].reshape(len(blocks), -1)
        mean = np.einsum("ij,ij->i", weights, part)
        spread = np.einsum("ij,ij,ij->i", weights, part, part) - mean**2
        likeness = np.einsum("ij,ij->i", weighted, part) / np.sqrt(np.maximum(spread, 1.0) * power)
        np.maximum(best, likeness, out=best)
    return float(1 - np.median(best))


def _blocks(image: np.ndarray) -> np.ndarray:
    """Cells of each block in a row: shape (blocks, BLOCK³)."""
    shape = [number for size in CELLS for number in (size // BLOCK, BLOCK)]
    return image.reshape(shape).transpose(0, 2, 4, 1, 3, 5).reshape(-1, BLOCK**3)
