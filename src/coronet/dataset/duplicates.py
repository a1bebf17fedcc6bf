"""Finding copies of one scan: the same chest, turned, bent, blurred, mirrored or changed in intensity.

Pictures of `coronet.dataset.chest_signature` are compared twice. Coarsely, by correlation of 18 mm cells
over all mirrorings and a grid of rotations: that gives each scan its few likeliest copies and how they would
have been turned. Then finely: one picture is turned to fit the other, and every block of 36 mm inside the
lungs seeks its best match within 12 mm. In a copy the blocks find their own vessels again, however bent; in
another patient they find none. docs/results.md has the figures.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from coronet.dataset.chest_signature import AIR_BELOW_HU, CELLS
from coronet.io.volume import AIR_HU

_COARSER = 3
_ANGLES_DEG = (-8.0, 0.0, 8.0)
_CANDIDATES = 3  # how many likeliest copies of each scan are compared finely
_MIRRORINGS = 3
_MIRROR_LEEWAY = 0.05  # mirrorings tried finely: at most so many, and worse than the best by at most this
_REFINING_DEG = (4.0, 2.0)
_SHIFTS = (3, 7)
_SURE, _HOPELESS = 0.35, 0.62
"""Outside of these distances, before chance is weighed, rotations are not refined."""
_BLOCK = 6
_REACH = 2
_VESSEL_HU = -200
_BONE_HU = 300
_LEAST_LUNG_BLOCK = 0.4  # least share of a block inside the lungs
_LEAST_TEXTURE_HU = 20.0
_LEAST_SPREAD = 1.0
_LEAST_BLOCKS = 12

ChestPose = tuple[tuple[int, ...], tuple[float, ...]]
"""Axes to mirror and angles in degrees to turn by."""


@dataclasses.dataclass(frozen=True)
class DuplicatePair:
    """Two scans and how unlike they are: 0 for the same picture, towards 1 for unrelated ones."""

    first: str
    second: str
    distance: float


def find_duplicates(
    names: Sequence[str], pictures: Sequence[np.ndarray], patients: Sequence[str]
) -> tuple[DuplicatePair, ...]:
    """Distance of each scan to its likeliest copies among the scans of other patients, nearest first.

    Args:
        names: name of each scan.
        pictures: `picture` of each scan, in the same order.
        patients: of each scan, in the same order; scans of one patient are not compared.
    """
    other = np.array(patients)[:, None] != np.array(patients)[None, :]
    if not other.any():
        return ()
    likeness, rotation = _coarse(pictures)
    best = np.where(other, likeness.max(axis=0), -np.inf)
    lungs = (_lung_blocks(item.astype(np.float32)) for item in pictures)
    # The sharper of two pictures has more blocks with vessels.
    blocks = [int(found.kept.sum()) if found else 0 for found in lungs]
    chosen = {
        tuple(sorted((i, int(j))))
        for i in range(len(names))
        for j in np.argsort(-best[i], kind="stable")[:_CANDIDATES]
        if other[i, j]
    }
    found = []
    for pair in sorted(chosen):
        fixed, moving = sorted(pair, key=lambda number: -blocks[number])
        poses = [
            (_mirrorings()[number], _rotations()[0][rotation[number, fixed, moving]])
            for number in np.argsort(-likeness[:, fixed, moving], kind="stable")[:_MIRRORINGS]
            if likeness[number, fixed, moving] > best[fixed, moving] - _MIRROR_LEEWAY
        ]
        distance = _distance(pictures[fixed].astype(np.float32), pictures[moving].astype(np.float32), poses)
        found.append(DuplicatePair(names[pair[0]], names[pair[1]], round(distance, 4)))
    return tuple(sorted(found, key=lambda pair: (pair.distance, pair.first, pair.second)))


def _coarse(pictures: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Correlation with the best rotation, and its number: both (mirrorings, pictures, pictures)."""
    cells = [size // _COARSER for size in CELLS]
    shape = [number for size in cells for number in (size, _COARSER)]
    stack = np.stack([np.asarray(item, np.float32).reshape(shape).mean(axis=(1, 3, 5)) for item in pictures])
    stack = np.clip(stack, AIR_HU, _BONE_HU)
    still = _standard(stack.reshape(len(stack), -1))
    best = np.full((len(_mirrorings()), len(stack), len(stack)), -2.0, np.float32)
    chosen = np.zeros(best.shape, np.int64)
    for number, axes in enumerate(_mirrorings()):
        mirrored = np.flip(stack, tuple(axis + 1 for axis in axes)).reshape(len(stack), -1).T
        for rotation, matrix in enumerate(_rotations()[1]):
            likeness = still @ _standard((matrix @ mirrored).T).T
            better = likeness > best[number]
            best[number][better] = likeness[better]
            chosen[number][better] = rotation
    return best, chosen


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
def _rotations() -> tuple[list[tuple[float, ...]], list[Any]]:
    """Angles, and sparse matrices that turn a flat coarse picture by them, interpolating linearly."""
    cells = np.array(CELLS) // _COARSER
    centre = (cells - 1) / 2
    targets = np.stack(np.meshgrid(*map(np.arange, cells), indexing="ij"), -1).reshape(-1, 3)
    angles = list(itertools.product(_ANGLES_DEG, repeat=3))
    return angles, [_interpolation((targets - centre) @ _turning(item).T + centre, cells) for item in angles]


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


def _distance(fixed: np.ndarray, moving: np.ndarray, poses: Sequence[ChestPose]) -> float:
    """Smallest fine distance over ``poses`` and over rotations near the best of them."""
    lungs = _lung_blocks(fixed)
    if lungs is None:
        return 1.0
    moving = np.clip(moving, AIR_HU, _VESSEL_HU)
    distance, (axes, angles) = min((_fine(lungs, _turn(moving, pose)), pose) for pose in poses)
    for step in _REFINING_DEG:
        if not _SURE < distance < _HOPELESS:
            break
        tried = [
            tuple(angle + sign * step * (axis == index) for index, angle in enumerate(angles))
            for axis, sign in itertools.product(range(3), (-1, 1))
        ]
        reached = [(_fine(lungs, _turn(moving, (axes, item))), item) for item in tried]
        distance, angles = min((distance, angles), *reached)
    if distance > _HOPELESS:
        return 1.0
    turned = _turn(moving, (axes, angles))
    chance = np.mean([_fine(lungs, turned, shift=number) for number in _SHIFTS])
    return min(1.0, distance / float(chance))


def _turn(image: np.ndarray, pose: ChestPose) -> np.ndarray:
    """``image`` mirrored, then turned about its centre."""
    from scipy import ndimage

    axes, angles = pose
    matrix = _turning(angles)
    centre = (np.array(CELLS) - 1) / 2
    mirrored = np.flip(image, axes)
    return ndimage.affine_transform(mirrored, matrix, centre - matrix @ centre, order=1, mode="nearest")


@dataclasses.dataclass(frozen=True)
class _LungBlocks:
    """Blocks of a picture that lie in the lungs and hold vessels."""

    kept: np.ndarray  # which of all blocks, bool
    weights: np.ndarray  # (blocks, cells), 1 / number of lung cells where there is lung, else 0
    weighted: np.ndarray  # (blocks, cells), weights times values less their mean
    power: np.ndarray  # variance of each block


def _lung_blocks(picture: np.ndarray) -> _LungBlocks | None:
    """The blocks of ``picture`` to compare, or None where the lungs in view are too small."""
    from scipy import ndimage

    weights = _blocks(ndimage.binary_erosion(picture < AIR_BELOW_HU).astype(np.float32))
    share = weights.mean(axis=1)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1)
    blocks = _blocks(np.clip(picture, AIR_HU, _VESSEL_HU))
    blocks = blocks - (weights * blocks).sum(axis=1, keepdims=True)
    power = (weights * blocks**2).sum(axis=1)
    kept = (share > _LEAST_LUNG_BLOCK) & (power > _LEAST_TEXTURE_HU**2)
    if kept.sum() < _LEAST_BLOCKS:
        return None
    return _LungBlocks(kept, weights[kept], weights[kept] * blocks[kept], power[kept])


def _fine(lungs: _LungBlocks, moving: np.ndarray, *, shift: int = 0) -> float:
    """1 - the median over blocks of the best local correlation with ``moving``."""
    # With a shift each block seeks in the place of another, that many further on: what chance gives.
    padded = np.pad(moving, _REACH, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (_BLOCK + 2 * _REACH,) * 3)
    windows = windows[::_BLOCK, ::_BLOCK, ::_BLOCK].reshape(-1, *(_BLOCK + 2 * _REACH,) * 3)[lungs.kept]
    windows = np.roll(windows, shift, axis=0)
    best = np.full(len(windows), -1.0, np.float32)
    for x, y, z in itertools.product(range(2 * _REACH + 1), repeat=3):
        part = windows[:, x : x + _BLOCK, y : y + _BLOCK, z : z + _BLOCK].reshape(len(windows), -1)
        mean = np.einsum("ij,ij->i", lungs.weights, part)
        spread = np.einsum("ij,ij,ij->i", lungs.weights, part, part) - mean**2
        likeness = np.einsum("ij,ij->i", lungs.weighted, part)
        likeness /= np.sqrt(np.maximum(spread, _LEAST_SPREAD) * lungs.power)
        np.maximum(best, likeness, out=best)
    return float(1 - np.median(best))


def _blocks(image: np.ndarray) -> np.ndarray:
    """Cells of each block in a row: shape (blocks, BLOCK³)."""
    shape = [number for size in CELLS for number in (size // _BLOCK, _BLOCK)]
    return image.reshape(shape).transpose(0, 2, 4, 1, 3, 5).reshape(-1, _BLOCK**3)
