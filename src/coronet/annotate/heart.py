"""A heart out of a few strokes.

A forest says of every block of soft tissue how likely it is heart. The answer is then carried along tissue
of one kind and held back at edges (Grady 2006, IEEE Trans. Pattern Anal. 28:1768, with the forest's answer as
the prior), starting from the strokes, which are certain. The heart is the one piece with the strokes in it,
without the vessels that leave it, smoothed, and drawn on the scan's own voxels.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import ndimage

from coronet.annotate import forest as forests
from coronet.annotate.drawn import Drawn, uncertainty_of
from coronet.annotate.features import Described, blur, describe
from coronet.annotate.forest import Forest, Samples
from coronet.annotate.grid import Body, Coarse, chest_box, coarse, find_body
from coronet.annotate.strokes import LABELS, Marks, Strokes, mark
from coronet.cohort.volume import Volume
from coronet.errors import InputError

HEART, BACKGROUND = 0, 1
EDGE_HU = 60.0
PRIOR = 0.03
ROUNDS = 60
OPENING_MM = 7.0
SMOOTHING_MM = 4.0
OWN_SHARE = 0.5
TAUGHT = 1500
LUNG_HU = -400


@dataclasses.dataclass(frozen=True)
class Seen:
    """A scan as the forest sees it: blocks, body and the features of all soft tissue in the chest."""

    blocks: Coarse
    body: Body
    described: Described


def see(volume: Volume, wanted: np.ndarray) -> Seen:
    """Look at the chest and at 60 mm around ``wanted`` (n, 3 voxels)."""
    blocks = coarse(volume)
    body = find_body(blocks)
    box = chest_box(blocks, body, blocks.blocks_of(wanted))
    blocks, body = blocks.within(box), body.within(box)
    return Seen(blocks, body, describe(blocks, body, body.tissue))


def draw_heart(
    volume: Volume,
    strokes: Strokes | Marks | None,
    *,
    prior: Samples | None = None,
    case: str = "",
    seed: int = 0,
) -> Drawn:
    """Draw a heart.

    Args:
        volume: the scan.
        strokes: what a person says of it; None where ``prior`` alone must do.
        prior: what other scans taught (`coronet annotate fit`).
        case: id under which this scan's samples are kept.
        seed: of the forest.

    Raises:
        InputError: nothing to learn from, or what is found is no heart.
    """
    none = Marks(np.zeros((0, 3), np.int32), np.zeros(0, np.uint8), LABELS["heart"])
    marks = none if strokes is None else mark(strokes, volume)
    seen = see(volume, marks.of("heart"))
    labels = stroke_blocks(marks, seen.blocks)
    own = _samples(seen.described, labels, case)
    forest = _grow(own, prior, seed)
    answer = np.zeros(seen.described.where.shape, np.float32)
    answer[seen.described.where] = forest.probability(seen.described.values)[:, HEART]
    spread = carry(answer, labels, seen)
    piece = _one_piece(spread, labels, seen)
    probability = _on_voxels(_rounded(spread, piece, seen), volume, seen.blocks)
    mask = (probability >= 50) & (volume.array > LUNG_HU)
    return Drawn(
        mask=_whole(mask, volume).astype(np.uint8),
        probability=probability,
        uncertainty=uncertainty_of(_on_voxels(answer, volume, seen.blocks)),
        samples=own,
        forest=forest,
    )


def stroke_blocks(marks: Marks, blocks: Coarse) -> np.ndarray:
    """What strokes say of blocks: int8, 0 nothing, else 1 + index of the label most of its voxels carry."""
    counts = np.zeros((len(marks.names), *blocks.hu.shape), np.int32)
    place = blocks.blocks_of(marks.index)
    kept = blocks.inside(place)
    np.add.at(counts, (marks.label[kept].astype(np.intp) - 1, *place[kept].T), 1)
    return np.where(counts.any(axis=0), counts.argmax(axis=0) + 1, 0).astype(np.int8)


def _samples(described: Described, labels: np.ndarray, case: str) -> Samples:
    said = labels[described.where]
    rows = said > 0
    return Samples(
        described.values[rows],
        (said[rows] - 1).astype(np.uint8),
        np.full(int(rows.sum()), case, dtype=f"<U{max(len(case), 1)}"),
        described.names,
        LABELS["heart"],
    )


def _grow(own: Samples, prior: Samples | None, seed: int) -> Forest:
    """A forest of this scan's strokes and of the others', the own ones weighing at least `OWN_SHARE`."""
    if prior is None:
        if not len(own.labels):
            raise InputError("There are no strokes and no forest: draw some scans and run `annotate fit`.")
        return forests.fit(own, seed=seed)
    if not len(own.labels):
        return forests.fit(prior, seed=seed)
    times = max(1, round(OWN_SHARE / (1 - OWN_SHARE) * len(prior.labels) / len(own.labels)))
    return forests.fit(forests.join([prior, *[own] * times]), seed=seed)


def carry(answer: np.ndarray, labels: np.ndarray, seen: Seen) -> np.ndarray:
    """Let the answer spread along tissue of one kind; float32 blocks.

    Every block takes the weighted mean of its six neighbours and of the forest's answer, over and over from a
    coarse start; neighbours weigh less the more their HU differ and the farther they are.
    """
    tissue, hu = seen.described.where, blur(seen.blocks.soft, 2.0, seen.blocks.spacing_mm)
    sure = np.where(labels > 0, (labels == HEART + 1).astype(np.float32), np.float32(-1))
    state = np.where(sure >= 0, sure, answer)
    near = min(seen.blocks.spacing_mm)
    pairs = []
    total = np.full(tissue.shape, np.float32(PRIOR))
    for axis, step in enumerate(seen.blocks.spacing_mm):
        low, high = _sides(axis)
        change = np.square((hu[high] - hu[low]) / np.float32(EDGE_HU))
        weight = np.float32((near / step) ** 2) / (1 + change * change)
        weight = np.where(tissue[high] & tissue[low], weight, np.float32(0))
        total[low] += weight
        total[high] += weight
        pairs.append((low, high, weight))
    prior = np.float32(PRIOR) * answer
    for _ in range(ROUNDS):
        pull = prior.copy()
        for low, high, weight in pairs:
            pull[low] += weight * state[high]
            pull[high] += weight * state[low]
        state = np.where(sure >= 0, sure, pull / total)
    return np.where(tissue, state, np.float32(0))


def _sides(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    low = tuple(slice(None, -1) if i == axis else slice(None) for i in range(3))
    high = tuple(slice(1, None) if i == axis else slice(None) for i in range(3))
    return low, high


def _one_piece(state: np.ndarray, labels: np.ndarray, seen: Seen) -> np.ndarray:
    """The piece of what is more likely heart than not that strokes, or else most blocks, are in."""
    likely = state >= 0.5
    inner = _opened(likely, seen.blocks.spacing_mm) | (likely & (labels == HEART + 1))
    parts, count = ndimage.label(inner)
    if not count:
        raise InputError("No heart was found; give more strokes (`coronet annotate draw`).")
    votes = np.bincount(parts.ravel(), minlength=count + 1)
    said = np.bincount(parts[labels == HEART + 1], minlength=count + 1)
    votes[0] = said[0] = 0
    return parts == int(np.argmax(said * (votes.max() + 1) + votes))


def _opened(mask: np.ndarray, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Without what is thinner than twice `OPENING_MM`."""
    core = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=spacing_mm)[1:-1, 1:-1, 1:-1] > OPENING_MM
    if not core.any():
        return mask
    return mask & (ndimage.distance_transform_edt(~core, sampling=spacing_mm) <= OPENING_MM)


def _rounded(state: np.ndarray, piece: np.ndarray, seen: Seen) -> np.ndarray:
    """Probability within the piece, smoothed without mixing in what is no tissue."""
    spacing = seen.blocks.spacing_mm
    piece = ndimage.binary_fill_holes(piece)
    kept = np.where(piece, np.maximum(state, 0.5), np.minimum(state, 0.49))
    tissue = seen.described.where.astype(np.float32)
    level = blur(kept * tissue, SMOOTHING_MM, spacing) / np.maximum(blur(tissue, SMOOTHING_MM, spacing), 1e-3)
    near = ndimage.distance_transform_edt(~piece, sampling=spacing) <= 3 * SMOOTHING_MM
    return np.where(near, level, 0).astype(np.float32)


def _on_voxels(level: np.ndarray, volume: Volume, blocks: Coarse) -> np.ndarray:
    """Blocks on the scan's voxels, per cent, between their centres in straight lines; uint8."""
    out = np.zeros(volume.shape, np.uint8)
    filled = [np.flatnonzero((level > 0).any(axis=tuple(j for j in range(3) if j != i))) for i in range(3)]
    if not filled[0].size:
        return out
    sides, values = [], level * np.float32(100)
    for axis in (2, 1, 0):
        factor, first, count = blocks.factor[axis], blocks.first[axis], level.shape[axis]
        start = max((first + int(filled[axis][0]) - 1) * factor, 0)
        stop = min((first + int(filled[axis][-1]) + 2) * factor, volume.shape[axis])
        place = (np.arange(start, stop) - (factor - 1) / 2) / factor - first
        place = np.clip(place, 0, count - 1)
        below = np.minimum(np.floor(place), max(count - 2, 0)).astype(np.intp)
        share = (place - below).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(3)])
        lower = np.take(values, below, axis=axis)
        upper = np.take(values, np.minimum(below + 1, count - 1), axis=axis)
        values = lower + (upper - lower) * share
        sides.insert(0, slice(start, stop))
    out[tuple(sides)] = np.clip(np.rint(values), 0, 100).astype(np.uint8)
    return out


def _whole(mask: np.ndarray, volume: Volume) -> np.ndarray:
    """The largest piece, with holes filled slice by slice."""
    import cc3d

    sides = [np.flatnonzero(mask.any(axis=tuple(j for j in range(3) if j != i))) for i in range(3)]
    if not sides[0].size:
        raise InputError("No heart was found; give more strokes (`coronet annotate draw`).")
    box = tuple(slice(int(side[0]), int(side[-1]) + 1) for side in sides)
    out = np.zeros(volume.shape, bool)
    part = cc3d.largest_k(mask[box], k=1, connectivity=6) > 0
    for index in range(part.shape[2]):
        part[:, :, index] = ndimage.binary_fill_holes(part[:, :, index])
    out[box] = part
    return out
