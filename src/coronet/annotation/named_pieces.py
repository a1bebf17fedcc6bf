"""Bright pieces and the labels that strokes give them."""

from __future__ import annotations

import dataclasses

import numpy as np

from coronet.annotation.candidates import LEAST_VOXELS, MARGIN_MM, Candidates
from coronet.annotation.stroke_voxels import Marks, StrokePart, parts_of
from coronet.annotation.strokes import STROKE_LABELS, Stroke, Strokes, describe_stroke
from coronet.errors import InputError
from coronet.io.volume import CALCIUM_HU, Volume

NAMES = STROKE_LABELS["calcium"]
CORONARY, OTHER = NAMES.index("coronary"), NAMES.index("other")
UNLABELLED = -1


@dataclasses.dataclass(frozen=True)
class UserLabels:
    """Labels that strokes give a scan's bright pieces."""

    piece: np.ndarray  # int8 (pieces,), index into `NAMES`, or `UNLABELLED`
    voxel: np.ndarray  # int8, shape of the candidates' box: labels of voxels that a box cuts out of a piece
    none: bool = False  # the scan has no coronary calcium
    missed: tuple[str, ...] = ()  # strokes that touch no piece, as messages name them
    overruled: tuple[str, ...] = ()  # strokes all of whose pieces later strokes label otherwise
    bony: tuple[str, ...] = ()  # strokes that label a piece coronary that goes on away from the heart


@dataclasses.dataclass(frozen=True)
class BrightPiece:
    """A bright piece in or near a heart, as strokes may name it."""

    number: int  # from 1; the same for the same scan and heart mask
    centre_mm: tuple[float, float, float]  # (x, y, z), RAS+
    volume_mm3: float  # of its voxels at or above 130 HU
    peak_hu: int  # of its densest voxel
    beyond_margin: bool  # whether it goes on farther from the heart than pieces are searched, as bones do


def bright_pieces(found: Candidates) -> tuple[BrightPiece, ...]:
    """The pieces of a scan with their numbers, the largest first."""
    centres = np.round(found.centre_mm, 1) + 0.0
    peaks = found.feature("peak_hu").tolist()
    columns = (centres.tolist(), found.volume_mm3.tolist(), peaks, found.cut.tolist())
    pieces = [
        BrightPiece(number, tuple(centre), round(volume, 1), peak, cut)
        for number, (centre, volume, peak, cut) in enumerate(zip(*columns, strict=True), 1)
    ]
    return tuple(sorted(pieces, key=lambda piece: (-piece.volume_mm3, piece.number)))


def place_pieces(strokes: Strokes | Marks | None, found: Candidates, ct: Volume) -> Strokes | Marks | None:
    """Turn strokes that name a piece by its number into points on the piece's densest voxel.

    Raises:
        InputError: the scan has no piece of that number.
    """
    if not isinstance(strokes, Strokes) or all(stroke.kind != "piece" for stroke in strokes.strokes):
        return strokes
    return dataclasses.replace(
        strokes, strokes=tuple(_placed(n, stroke, found, ct) for n, stroke in enumerate(strokes.strokes, 1))
    )


def _placed(number: int, stroke: Stroke, found: Candidates, ct: Volume) -> Stroke:
    if stroke.kind != "piece" or stroke.piece is None:
        return stroke
    if stroke.piece > found.count:
        there = f"pieces 1 to {found.count}" if found.count else "no bright piece at all"
        raise InputError(
            f"{describe_stroke(number, stroke)}: there is no piece {stroke.piece}; with its present heart "
            f"mask the scan has {there}. List them with `coronet annotate pieces CASE`."
        )
    places = np.argwhere(found.labels == stroke.piece)
    densest = places[int(ct.array[found.box][tuple(places.T)].argmax())] + [side.start for side in found.box]
    x, y, z = (round(float(value), 2) for value in (np.asarray(ct.affine) @ [*densest, 1])[:3])
    return dataclasses.replace(stroke, kind="point", points_mm=((x, y, z),))


def apply_labels(found: Candidates, strokes: Strokes | Marks | None, ct: Volume) -> UserLabels:
    """Label the pieces that strokes touch.

    A stroke labels every piece that it touches, and the later one holds. A box that holds only part of a
    piece labels that part and leaves the rest: so a plaque is cut from a bone or a stent that it touches.
    """
    piece = np.full(found.count, UNLABELLED, np.int8)
    voxel = np.full(found.labels.shape, UNLABELLED, np.int8)
    if strokes is None:
        return UserLabels(piece, voxel)
    sizes = np.bincount(found.labels.ravel(), minlength=found.count + 1)
    missed: list[str] = []
    applied: list[tuple[StrokePart, np.ndarray]] = []
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
        voxel[whole[found.labels]] = UNLABELLED
        if part.is_box:
            cut = (found.labels[place] > 0) & ~whole[found.labels[place]]
            voxel[tuple(axis[cut] for axis in place)] = NAMES.index(part.label)
        applied.append((part, whole[1:]))
    overruled = [
        f"{part.name} does not hold: later strokes label the same bright pieces otherwise"
        for part, whole in applied
        if whole.any() and not (piece[whole] == NAMES.index(part.label)).any()
    ]
    bony = [
        f"{part.name} labels a piece that goes on more than {MARGIN_MM:g} mm outside the heart, as bones do"
        for part, whole in applied
        if part.label == "coronary" and (whole & found.cut & (piece == CORONARY)).any()
    ]
    none = isinstance(strokes, Strokes) and strokes.none
    return UserLabels(piece, voxel, none, tuple(missed), tuple(overruled), tuple(bony))
