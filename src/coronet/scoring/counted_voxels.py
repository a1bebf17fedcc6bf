"""The voxels of a calcium mask that count, and which lesion and part each belongs to.

Only masked voxels are touched: their box is cut out of the mask, so the cost follows the calcium and not the
scan. HU are the scan's own.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from coronet.errors import InputError
from coronet.io.volume import Volume
from coronet.scoring.protocol import Protocol


@dataclasses.dataclass(frozen=True)
class CountedCalcium:
    """Voxels that count, n of them."""

    index: np.ndarray  # place in the array, int64, shape (n, 3), in order (x, y, z)
    hu: np.ndarray  # float64, shape (n,)
    label: np.ndarray  # value in the mask, shape (n,)
    part: np.ndarray  # number of the part, from 0 without gaps, shape (n,); a part shares one highest HU
    lesion: np.ndarray  # number of the 3-D lesion, from 0 without gaps, shape (n,)
    pixel_mm2: float  # area of a voxel in its axial slice
    slice_spacing_mm: float  # distance of neighbouring slices, at right angles to them

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel in mm³."""
        return self.pixel_mm2 * self.slice_spacing_mm

    @property
    def parts(self) -> int:
        """How many parts there are."""
        return int(self.part.max()) + 1 if self.part.size else 0

    @property
    def lesions(self) -> int:
        """How many lesions there are."""
        return int(self.lesion.max()) + 1 if self.lesion.size else 0


def find_calcium(ct: Volume, mask: np.ndarray, protocol: Protocol) -> CountedCalcium:
    """Gather the voxels of ``mask`` that count under ``protocol`` and group them.

    Args:
        ct: HU, shape (x, y, z).
        mask: labels or booleans of the same shape; anything but 0 is calcium.
        protocol: says which HU count and what is connected.

    Raises:
        InputError: shapes differ, the mask holds no labels, or the scan has no number where the mask is.
    """
    mask = np.asarray(mask)
    if mask.shape != ct.shape:
        raise InputError(
            f"The mask has shape {mask.shape} and the scan {ct.shape}; they must lie on one grid."
        )
    if mask.dtype.kind not in "bui":
        raise InputError(f"The mask holds {mask.dtype}; a mask holds labels. Cut a probability map first.")
    index = nonzero(mask)
    hu = ct.array[tuple(index.T)].astype(np.float64)
    lost = ~np.isfinite(hu)
    if lost.any():
        first = ", ".join(map(str, index[lost][0].tolist()))
        raise InputError(
            f"{int(lost.sum())} of the {len(hu)} voxels under the mask are no numbers in the scan (NaN or "
            f"infinite; the first has the RAS+ index {first}). Export the scan again, or erase them."
        )
    kept = protocol.counts(hu)
    index, hu = index[kept], hu[kept]
    lesion = _lesions(index, protocol.lesion_connectivity)
    # right also where the slices are sheared (gantry tilt) or turned
    x, y, z = np.asarray(ct.affine, dtype=np.float64)[:3, :3].T
    normal = np.cross(x, y)
    area = float(np.linalg.norm(normal))
    return CountedCalcium(
        index=index,
        hu=hu,
        label=mask[tuple(index.T)],
        part=_parts(index, lesion, protocol),
        lesion=lesion,
        pixel_mm2=area,
        slice_spacing_mm=abs(float(z @ normal)) / area,
    )


def nonzero(mask: np.ndarray) -> np.ndarray:
    """Places of all values but 0, shape (n, 3); several times as fast as `numpy.argwhere` for few of them."""
    if not mask.flags.c_contiguous and mask.flags.f_contiguous:
        return nonzero(mask.T)[:, ::-1]
    flat = np.ascontiguousarray(mask).reshape(-1)
    if flat.dtype.itemsize != 1:
        return np.column_stack(np.unravel_index(np.flatnonzero(flat), mask.shape))
    # Eight voxels at a time: nearly all words of a calcium mask are 0.
    words = flat[: flat.size // 8 * 8].view(np.uint64)
    near = (np.flatnonzero(words != 0)[:, None] * 8 + np.arange(8)).reshape(-1)
    near = np.concatenate([near, np.arange(words.size * 8, flat.size)])
    return np.column_stack(np.unravel_index(near[flat[near] != 0], mask.shape))


def _lesions(index: np.ndarray, connectivity: int) -> np.ndarray:
    if not index.size:
        return np.zeros(0, dtype=np.int64)
    place = tuple((index - index.min(axis=0)).T)
    box = np.zeros([int(axis.max()) + 1 for axis in place], dtype=np.uint8)
    box[place] = 1
    return np.asarray(_components(box, connectivity)[place] - 1)


def _parts(index: np.ndarray, lesion: np.ndarray, protocol: Protocol) -> np.ndarray:
    if protocol.part == "lesion" or not index.size:
        return lesion
    if protocol.part == "lesion slice":
        pairs = lesion * (index[:, 2].max() + 1) + index[:, 2]
        return np.unique(pairs, return_inverse=True)[1]
    # All slices in one picture, one above the other with an empty row between, so that one call labels them
    # and nothing connects across slices.
    x, y, z = (index - index.min(axis=0)).T
    width, height, depth = int(x.max()) + 2, int(y.max()) + 1, int(z.max()) + 1
    picture = np.zeros((depth * width, height), dtype=np.uint8)
    row = z * width + x
    picture[row, y] = 1
    return np.asarray(_components(picture, protocol.connectivity)[row, y] - 1)


def _components(mask: np.ndarray, connectivity: Any) -> np.ndarray:
    """Number of the connected component of each voxel, int64, 0 outside."""
    import cc3d

    return np.asarray(cc3d.connected_components(mask, connectivity=connectivity)).astype(np.int64)
