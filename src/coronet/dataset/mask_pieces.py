"""Pieces of a calcium mask that may be no coronary calcium: far from the heart, or part of a bone."""

from __future__ import annotations

import dataclasses

import numpy as np

from coronet.imaging.resampling import IndexBox, mask_slices

_BODY_MM3 = 500.0  # bright bodies smaller than this are not listed; the bones around a heart are far larger
_BODY_MARGIN_MM = 25.0  # how far around a calcium mask the bright body that a piece is part of is measured
_MOST_LISTED = 100
"""Of the farthest pieces, of those in the largest bodies, and of those without a bright voxel."""


@dataclasses.dataclass(frozen=True)
class MaskPiece:
    """A connected piece of a calcium mask."""

    far_mm: float  # how far from the heart mask it begins
    body_mm3: float  # volume of the bright body that it is part of; 0 where no voxel of it is bright
    mm3: float
    centre_mm: tuple[float, float, float]  # mean position (x, y, z), RAS+


@dataclasses.dataclass(frozen=True)
class MaskPieces:
    """The 26-connected pieces of a calcium mask."""

    box: IndexBox  # the smallest part of the mask that holds them
    labels: np.ndarray  # shape of `box`; 0, or the number of a piece from 1
    count: int  # how many there are
    index: np.ndarray  # (voxels, 3), where in the mask each of their voxels lies
    owner: np.ndarray  # (voxels,), the piece of each
    affine: np.ndarray

    @classmethod
    def of(cls, inside: np.ndarray, affine: np.ndarray) -> MaskPieces:
        """Find the pieces of a bool mask (x, y, z)."""
        import cc3d

        box = box_around(inside)
        labels, count = cc3d.connected_components(inside[box], connectivity=26, return_N=True)
        index = np.argwhere(labels > 0)
        owner = labels[tuple(index.T)].astype(np.intp)
        return cls(box, labels, int(count), index + [side.start for side in box], owner, affine)


def list_doubtful(pieces: MaskPieces, away: np.ndarray, bodies: np.ndarray) -> str:
    """Pieces that do not touch the heart, are part of a large body or hold nothing bright, for `read_pieces`.

    ``away`` is of `away_mm`, ``bodies`` of `body_mm3`.
    """
    voxel_mm3 = abs(np.linalg.det(pieces.affine[:3, :3]))
    sizes = np.bincount(pieces.owner, minlength=pieces.count + 1)[1:]
    places = _to_world(pieces.index, pieces.affine)
    sums = [np.bincount(pieces.owner, places[:, axis], pieces.count + 1)[1:] for axis in range(3)]
    # what is bright at all must not be rounded to 0
    shown = np.where(bodies > 0, np.maximum(bodies, 0.1), 0)
    rows = [away, shown, sizes * voxel_mm3, *(total / np.maximum(sizes, 1) for total in sums)]
    chosen = set(np.flatnonzero(bodies == 0)[:_MOST_LISTED].tolist())
    for measure, least in ((away, 0.0), (bodies, _BODY_MM3)):
        largest = np.argsort(-measure, kind="stable")[:_MOST_LISTED]
        chosen |= set(largest[measure[largest] > least].tolist())
    return " ".join(":".join(f"{row[at]:.1f}" for row in rows) for at in sorted(chosen))


def read_pieces(text: str) -> tuple[MaskPiece, ...]:
    """Pieces out of the text that `list_doubtful` makes."""
    rows = ([float(value) for value in item.split(":")] for item in text.split())
    return tuple(MaskPiece(far, body, mm3, (x, y, z)) for far, body, mm3, x, y, z in rows)


def away_mm(pieces: MaskPieces, heart: np.ndarray) -> np.ndarray | None:
    """Distance in mm of each piece from a heart mask (bool, same shape), voxel to nearest voxel: (pieces,).

    None where the heart mask is empty.
    """
    from scipy.spatial import cKDTree

    if not heart.any():
        return None
    found = np.zeros(pieces.count + 1)
    touching = np.zeros(pieces.count + 1, bool)
    touching[pieces.owner[heart[tuple(pieces.index.T)]]] = True
    apart = ~touching[pieces.owner]
    if apart.any():
        found[~touching] = np.inf
        tree = cKDTree(_to_world(_surface(heart), pieces.affine))
        gaps = tree.query(_to_world(pieces.index[apart], pieces.affine))[0]
        np.minimum.at(found, pieces.owner[apart], gaps)
    return found[1:]


def body_mm3(pieces: MaskPieces, hu: np.ndarray, *, least_hu: float) -> np.ndarray:
    """Volume of the largest bright body that each piece is part of, in mm³: (pieces,).

    A body is what has at least ``least_hu`` in ``hu`` (same shape as the mask), connects by faces and lies at
    most `_BODY_MARGIN_MM` outside the box of the mask. Noise connects by edges and corners.
    """
    import cc3d

    if not pieces.count:
        return np.zeros(0)
    spacing = np.linalg.norm(pieces.affine[:3, :3], axis=0)
    rim = np.ceil(_BODY_MARGIN_MM / spacing).astype(int)
    view = tuple(
        slice(max(side.start - more, 0), side.stop + more) for side, more in zip(pieces.box, rim, strict=True)
    )
    bodies = cc3d.connected_components(np.ascontiguousarray(hu[view] >= least_hu), connectivity=6)
    volume = np.bincount(bodies.ravel()) * abs(np.linalg.det(pieces.affine[:3, :3]))
    volume[0] = 0
    largest = np.zeros(pieces.count + 1)
    place = tuple((pieces.index - [side.start for side in view]).T)
    np.maximum.at(largest, pieces.owner, volume[bodies[place]])
    return largest[1:]


def box_around(inside: np.ndarray) -> IndexBox:
    """Smallest box around what is True; empty slices where nothing is."""
    return mask_slices(inside) or (slice(0, 0),) * 3


def _to_world(indices: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Positions in mm of voxel indices (n, 3)."""
    return indices @ np.asarray(affine)[:3, :3].T + np.asarray(affine)[:3, 3]


def _surface(inside: np.ndarray) -> np.ndarray:
    """Indices (n, 3) of voxels of ``inside`` with a neighbour outside along an array axis."""
    from scipy.ndimage import binary_erosion

    box = box_around(inside)
    part = inside[box]
    return np.argwhere(part & ~binary_erosion(part)) + np.array([edge.start for edge in box])
