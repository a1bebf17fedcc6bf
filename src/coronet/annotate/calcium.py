"""Coronary calcium out of bright pieces: a forest tells what each is, and a person's strokes overrule it."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np

from coronet.annotate.candidates import LEAST_VOXELS, Candidates, find_candidates
from coronet.annotate.describe import FEATURES
from coronet.annotate.drawn import Drawn, uncertainty_of
from coronet.annotate.forest import Forest, Samples, fit, join
from coronet.annotate.strokes import LABELS, Marks, Strokes, mark
from coronet.cohort.volume import Volume

logger = logging.getLogger("coronet")

NAMES = LABELS["calcium"]
CORONARY, OTHER = NAMES.index("coronary"), NAMES.index("other")
THRESHOLD = 0.55
"""A piece is coronary from this probability on."""
TREES, LEAF = 100, 2
RARE = 5
"""Kinds with fewer pieces than this in a table are learned as «other»."""
WEIGHT = 4
"""In a teaching scan, pieces that strokes name count as so many of the library's."""
TEACHES, ASIDE = 60, 100
"""Of the pieces that nobody named so many of a scan teach: the most visible, and of the rest every nth."""
PLAIN = 1000.0
"""A piece drawn as coronary teaches so, unnamed, from this `visibility` on: nobody checks specks."""
UNSAID = -1


@dataclasses.dataclass(frozen=True)
class Said:
    """What strokes say of a scan's pieces.

    Attributes:
        piece: int8 (pieces,), index into `NAMES`, or `UNSAID`.
        voxel: int8, shape of the candidates' box: the same of voxels that a box cuts out of a piece.
    """

    piece: np.ndarray
    voxel: np.ndarray


@dataclasses.dataclass(frozen=True)
class Judged:
    """The pieces of a scan and what each is held for.

    Attributes:
        candidates: the pieces.
        said: what strokes say of them.
        probability: float32 (pieces, `NAMES`); where strokes speak, theirs.
        label: uint8 (pieces,), index into `NAMES`.
        forest: what answered; None where there was none to ask, and what is not said is then ``other``.
    """

    candidates: Candidates
    said: Said
    probability: np.ndarray
    label: np.ndarray
    forest: Forest | None


def draw_calcium(
    ct: Volume,
    heart: np.ndarray,
    strokes: Strokes | Marks | None,
    *,
    prior: Samples | None = None,
    case: str = "",
    seed: int = 0,
) -> Drawn:
    """Draw the coronary calcium of a scan.

    Where there is a library the forest is grown from it alone: strokes overrule it here, and teach it for the
    next scans. A few clicks of one scan, learned at once, would make it find too much in that scan.

    Args:
        ct: HU, RAS+.
        heart: mask, shape of ``ct``.
        strokes: what a person says; None for nothing.
        prior: pieces of other scans.
        case: the name that this scan's samples carry.
        seed: of the forest.

    Returns:
        The mask is 1 where there is coronary calcium; probability and uncertainty are of whole pieces.

    Raises:
        InputError: mask and scan do not fit, or neither strokes nor prior give two kinds to learn from.
    """
    found = find_candidates(ct, heart)
    said = hear(found, strokes, ct)
    table = table_of(found, said, None) if prior is None else prior
    judged = judge(found, said, forest=None if table is None else grow(table, seed=seed))
    if judged.forest is None:
        # names what is missing
        grow(_own(found, said, case), seed=seed)
    return paint(judged, ct, case=case)


def hear(found: Candidates, strokes: Strokes | Marks | None, ct: Volume) -> Said:
    """Which pieces the strokes name.

    A stroke names every piece that it touches, and the later one holds. A box that holds only part of a piece
    names that part and leaves the rest: so a plaque is cut from a bone or a stent that it touches.
    """
    piece = np.full(found.count, UNSAID, np.int8)
    voxel = np.full(found.labels.shape, UNSAID, np.int8)
    if strokes is None:
        return Said(piece, voxel)
    if isinstance(strokes, Marks):
        parts = [(label, strokes.of(NAMES[label]), False) for label in range(len(NAMES))]
    else:
        parts = [
            (NAMES.index(item.label), mark(Strokes(strokes.target, (item,)), ct).index, item.kind == "box")
            for item in strokes.strokes
        ]
    sizes = np.bincount(found.labels.ravel(), minlength=found.count + 1)
    for label, index, is_box in parts:
        if not len(index):
            continue
        place = index - np.asarray([side.start for side in found.box])
        within = ((place >= 0) & (place < found.labels.shape)).all(axis=1)
        place = tuple(place[within].T)
        hit = np.bincount(found.labels[place], minlength=found.count + 1)
        whole = hit == sizes if is_box else hit > 0
        whole[0] = False
        piece[whole[1:]] = label
        voxel[np.isin(found.labels, np.flatnonzero(whole)) & (found.labels > 0)] = UNSAID
        if is_box:
            cut = (found.labels[place] > 0) & ~whole[found.labels[place]]
            voxel[tuple(axis[cut] for axis in place)] = label
        elif not whole.any() and label == CORONARY:
            logger.warning(
                "a stroke says coronary where no %d voxels reach 130 HU in or near the heart",
                LEAST_VOXELS,
            )
    return Said(piece, voxel)


def grow(table: Samples, *, seed: int = 0) -> Forest:
    """A forest that tells pieces apart; kinds that are too rare to learn count as ``other``.

    Raises:
        InputError: fewer than two kinds are left.
    """
    counts = np.bincount(table.labels, minlength=len(NAMES))
    rare = (counts < RARE) & (np.arange(len(NAMES)) != CORONARY)
    labels = np.where(rare[table.labels], OTHER, table.labels).astype(np.uint8)
    return fit(dataclasses.replace(table, labels=labels), seed=seed, trees=TREES, leaf=LEAF)


def _own(found: Candidates, said: Said, case: str) -> Samples:
    """The pieces that strokes name."""
    named = said.piece != UNSAID
    return Samples(
        found.features[named],
        said.piece[named].astype(np.uint8),
        np.full(int(named.sum()), case),
        FEATURES,
        NAMES,
    )


def table_of(found: Candidates, said: Said, prior: Samples | None) -> Samples | None:
    """What to learn from: the library and, with more weight, this scan; None where that is not two kinds."""
    own = _own(found, said, "")
    table = own if prior is None else join([prior, *[own] * WEIGHT])
    return table if len(np.unique(table.labels)) > 1 else None


def judge(found: Candidates, said: Said, *, forest: Forest | None) -> Judged:
    """Say of every piece what it is."""
    count = found.count
    probability = np.zeros((count, len(NAMES)), np.float32)
    if forest is None:
        probability[:, OTHER] = 1
    elif count:
        probability = forest.probability(found.features, workers=1)
    named = said.piece != UNSAID
    probability[named] = 0
    probability[named, said.piece[named]] = 1
    rest = probability.copy()
    rest[:, CORONARY] = 0
    label = np.where(probability[:, CORONARY] >= THRESHOLD, CORONARY, rest.argmax(axis=1)).astype(np.uint8)
    return Judged(found, said, probability, label, forest)


def coronary_mask(judged: Judged, shape: tuple[int, ...]) -> np.ndarray:
    """Coronary voxels as uint8 0 or 1 of the scan's shape."""
    mask = np.zeros(shape, np.uint8, order="F")
    chosen = np.concatenate([[False], judged.label == CORONARY])
    inner = chosen[judged.candidates.labels]
    cut = judged.said.voxel != UNSAID
    inner[cut] = judged.said.voxel[cut] == CORONARY
    mask[judged.candidates.box] = inner
    return mask


def paint(judged: Judged, ct: Volume, *, case: str = "") -> Drawn:
    """Masks and maps of what was judged."""
    found = judged.candidates

    def maps() -> tuple[np.ndarray, np.ndarray]:
        probability, uncertainty = np.zeros((2, *ct.shape), np.uint8)
        percent = np.rint(judged.probability[:, CORONARY] * 100).astype(np.uint8)
        percent = np.concatenate([np.zeros(1, np.uint8), percent])
        inner = percent[found.labels]
        cut = judged.said.voxel != UNSAID
        inner[cut] = np.where(judged.said.voxel[cut] == CORONARY, 100, 0)
        probability[found.box] = inner
        # what is no piece is not uncertain
        uncertainty[found.box] = np.where(found.labels > 0, uncertainty_of(inner), 0)
        return probability, uncertainty

    return Drawn(coronary_mask(judged, ct.shape), maps, samples_of(judged, case), judged.forest)


def samples_of(judged: Judged, case: str) -> Samples:
    """What a scan teaches once a person has looked at it: what was named, and what was left as it is drawn.

    A noisy scan has thousands of specks; not all of them teach, or it would be the only one that does.
    """
    found, named = judged.candidates, judged.said.piece != UNSAID
    visible = visibility(found)
    unsure = ~named & (judged.label == CORONARY) & (visible < PLAIN)
    order = np.lexsort((-visible, ~named, unsure))[: found.count - int(unsure.sum())]
    # a box may name thousands
    first = min(int(named.sum()), TEACHES) + TEACHES
    rest = order[first:]
    chosen = np.sort(np.concatenate([order[:first], rest[:: max(1, -(-len(rest) // ASIDE))]]))
    return Samples(
        found.features[chosen],
        judged.label[chosen].astype(np.uint8),
        np.full(len(chosen), case),
        FEATURES,
        NAMES,
    )


def visibility(found: Candidates) -> np.ndarray:
    """How much a piece catches the eye: its volume in mm³ times what its peak has above 100 HU."""
    return found.volume_mm3 * (found.feature("peak_hu").astype(np.float64) - 100.0)
