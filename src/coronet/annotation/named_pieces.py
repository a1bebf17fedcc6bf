"""Which bright pieces of a scan its strokes name."""

from __future__ import annotations

import dataclasses

import numpy as np

from coronet.annotation.candidates import LEAST_VOXELS, MARGIN_MM, Candidates
from coronet.annotation.stroke_parts import StrokePart, parts_of
from coronet.annotation.strokes import STROKE_LABELS, Marks, Strokes
from coronet.io.volume import CALCIUM_HU, Volume

NAMES = STROKE_LABELS["calcium"]
CORONARY, OTHER = NAMES.index("coronary"), NAMES.index("other")
UNSAID = -1


@dataclasses.dataclass(frozen=True)
class UserLabels:
    """What strokes say of a scan's pieces.

    Attributes:
        piece: int8 (pieces,), index into `NAMES`, or `UNSAID`.
        voxel: int8, shape of the candidates' box: the same of voxels that a box cuts out of a piece.
        none: the scan has no coronary calcium.
        missed: strokes that touch no piece, as messages name them.
        overruled: strokes all of whose pieces later strokes name otherwise.
        bony: strokes that name a piece coronary that goes on away from the heart.
    """

    piece: np.ndarray
    voxel: np.ndarray
    none: bool = False
    missed: tuple[str, ...] = ()
    overruled: tuple[str, ...] = ()
    bony: tuple[str, ...] = ()

    @property
    def coronary(self) -> bool:
        """Whether they name coronary calcium, a piece or a part of one."""
        return bool((self.piece == CORONARY).any() or (self.voxel == CORONARY).any())


def apply_labels(found: Candidates, strokes: Strokes | Marks | None, ct: Volume) -> UserLabels:
    """Which pieces the strokes name.

    A stroke names every piece that it touches, and the later one holds. A box that holds only part of a piece
    names that part and leaves the rest: so a plaque is cut from a bone or a stent that it touches.
    """
    piece = np.full(found.count, UNSAID, np.int8)
    voxel = np.full(found.labels.shape, UNSAID, np.int8)
    if strokes is None:
        return UserLabels(piece, voxel)
    sizes = np.bincount(found.labels.ravel(), minlength=found.count + 1)
    missed: list[str] = []
    named: list[tuple[StrokePart, np.ndarray]] = []
    for part in parts_of(strokes, ct):
        place = part.index - np.asarray([side.start for side in found.box])
        within = ((place >= 0) & (place < found.labels.shape)).all(axis=1)
        place = tuple(place[within].T)
        hit = np.bincount(found.labels[place], minlength=found.count + 1)
        hit[0] = 0
        if not hit.any():
            missed.append(
                f"{part.name} touches no bright piece: no {LEAST_VOXELS} connected voxels reach "
                f"{CALCIUM_HU} HU there, or they lie more than {MARGIN_MM:g} mm from the heart"
            )
            continue
        whole = hit == sizes if part.is_box else hit > 0
        whole[0] = False
        piece[whole[1:]] = NAMES.index(part.label)
        voxel[np.isin(found.labels, np.flatnonzero(whole)) & (found.labels > 0)] = UNSAID
        if part.is_box:
            cut = (found.labels[place] > 0) & ~whole[found.labels[place]]
            voxel[tuple(axis[cut] for axis in place)] = NAMES.index(part.label)
        named.append((part, whole[1:]))
    overruled = [
        f"{part.name} does not hold: later strokes name the same bright pieces otherwise"
        for part, whole in named
        if whole.any() and not (piece[whole] == NAMES.index(part.label)).any()
    ]
    bony = [
        f"{part.name} names a piece that goes on more than {MARGIN_MM:g} mm outside the heart, as bones do"
        for part, whole in named
        if part.label == "coronary" and (whole & found.cut & (piece == CORONARY)).any()
    ]
    none = isinstance(strokes, Strokes) and strokes.none
    return UserLabels(piece, voxel, none, tuple(missed), tuple(overruled), tuple(bony))
