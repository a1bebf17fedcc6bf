"""Coronary calcium out of bright pieces: a forest classifies each, and strokes overrule it."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np

from coronet.annotation.candidate_features import FEATURES
from coronet.annotation.candidates import Candidates, find_candidates
from coronet.annotation.draft_mask import CalciumTally, DraftMask, uncertainty_of
from coronet.annotation.forest import Forest, Samples, check_features, fit_forest, join_samples
from coronet.annotation.named_pieces import (
    CORONARY,
    NAMES,
    OTHER,
    UNLABELLED,
    UserLabels,
    apply_labels,
    place_pieces,
)
from coronet.annotation.stroke_voxels import Marks, count_strokes
from coronet.annotation.strokes import NONE_HINT, Strokes
from coronet.errors import InputError
from coronet.io.volume import Volume

logger = logging.getLogger("coronet")

_THRESHOLD = 0.55  # a piece is coronary from this probability on
_TREES, _LEAF = 100, 2
_MAX_LISTED = 5  # strokes and places that stand in messages
_RARE = 5  # kinds with fewer pieces than this in a table are learned as "other"
_MIN_SCANS = 3
"""Unlabelled pieces are drawn once so many other scans hold `_RARE` coronary pieces and as many others."""
_OWN_WEIGHT = 4  # in a training scan, labelled pieces count as so many of the library's
TRAINING_PIECES, THINNED_PIECES = 60, 100
"""Unlabelled pieces that a scan adds to the library: the most visible, and every nth of the rest."""
_OBVIOUS = 1000.0
"""An unlabelled piece is kept as a coronary sample from this `visibility` on: no reader checks specks."""
_NEAR_MM = 5.0  # an unlabelled piece is drawn only where it lies at most so far outside the heart, on average


@dataclasses.dataclass(frozen=True)
class ClassifiedCandidates:
    """The pieces of a scan with their classes."""

    candidates: Candidates
    user_labels: UserLabels
    probability: np.ndarray  # float32 (pieces, `NAMES`); 0 or 1 where strokes decide
    label: np.ndarray  # uint8 (pieces,), index into `NAMES`
    # the classifier; None where there was none, and unlabelled pieces are then ``other``
    forest: Forest | None


def draw_calcium(
    ct: Volume,
    heart: np.ndarray,
    strokes: Strokes | Marks | None,
    *,
    prior: Samples | None = None,
    case: str = "",
    candidates: Candidates | None = None,
) -> DraftMask:
    """Draw the coronary calcium of a scan.

    The forest is grown from other scans alone: strokes overrule it here, and train it for the next scans. A
    few clicks of one scan, learned at once, would make it find too much in that scan. So where other scans
    hold too few samples (`_suffices`), unlabelled pieces are not drawn.

    Args:
        ct: HU, RAS+.
        heart: mask, shape of ``ct``.
        strokes: of this scan; None for none.
        case: the name that this scan's samples carry.
        candidates: of this scan and heart mask, where they were found before.

    Returns:
        The mask is 1 where there is coronary calcium; probability and uncertainty are of whole pieces.

    Raises:
        InputError: mask and scan do not fit, there is nothing to recognise coronary calcium by
            (`check_enough`), or strokes label coronary calcium and none is left.
    """
    check_enough(strokes, prior)
    if prior is not None:
        check_features(prior, FEATURES)
    found = find_candidates(ct, heart) if candidates is None else candidates
    strokes = place_pieces(strokes, found, ct)
    labels = apply_labels(found, strokes, ct)
    forest = fit_candidate_forest(prior) if prior is not None and _suffices(prior) else None
    classified = classify_candidates(found, labels, forest=forest)
    for faults in (labels.missed, labels.overruled, labels.bony):
        for fault in faults[:_MAX_LISTED]:
            logger.warning("%s.", fault)
        if len(faults) > _MAX_LISTED:
            logger.warning("The same holds for %d more strokes.", len(faults) - _MAX_LISTED)
    draft = _draft(classified, ct, case=case)
    if _labels_coronary(strokes) and not draft.mask.any():
        reasons = "; ".join((*labels.missed, *labels.overruled)[:_MAX_LISTED])
        raise InputError(
            f"Strokes label coronary calcium, but none is left: {reasons}. Correct them; {NONE_HINT}."
        )
    return draft


def _labels_coronary(strokes: Strokes | Marks | None) -> bool:
    if isinstance(strokes, Strokes):
        return any(stroke.label == "coronary" for stroke in strokes.strokes)
    return strokes is not None and len(strokes.of("coronary")) > 0


def check_enough(strokes: Strokes | Marks | None, prior: Samples | None) -> None:
    """Check that coronary calcium can be recognised at all, before anything is computed.

    Raises:
        InputError: strokes label no coronary calcium and do not state that there is none, and other scans do
            not hold enough samples (`_suffices`).
    """
    if _labels_coronary(strokes) or _suffices(prior) or (isinstance(strokes, Strokes) and strokes.none):
        return
    needed = (
        f"other scans' strokes label {_kinds(prior)}; at least {_RARE} coronary pieces and {_RARE} others in "
        f"{_MIN_SCANS} scans are needed to draw unlabelled pieces"
    )
    if strokes is None:
        raise InputError(f"Cannot draw calcium without strokes: {needed} (`coronet annotate draw`).")
    raise InputError(
        f"No stroke has the label coronary (labels: {', '.join(count_strokes(strokes))}), and {needed}. "
        f"Click on the coronary calcium; {NONE_HINT}."
    )


def _suffices(table: Samples | None) -> bool:
    """Whether a table holds enough to draw unlabelled pieces."""
    if table is None:
        return False
    coronary = int((table.labels == CORONARY).sum())
    rarest = min(coronary, len(table.labels) - coronary)
    return rarest >= _RARE and len(np.unique(table.cases)) >= _MIN_SCANS


def _kinds(table: Samples | None) -> str:
    """What a table holds of each kind, for a message, such as "2 coronary, 1 bone in 1 scan"."""
    if table is None or not len(table.labels):
        return "nothing"
    counts = np.bincount(table.labels, minlength=len(NAMES))
    kinds = ", ".join(f"{count} {name}" for name, count in zip(NAMES, counts, strict=True) if count)
    scans = len(np.unique(table.cases))
    return f"{kinds} in {scans} scan{'' if scans == 1 else 's'}"


def fit_candidate_forest(table: Samples) -> Forest:
    """A forest that classifies pieces; kinds that are too rare to learn count as ``other``.

    Raises:
        InputError: fewer than two kinds are left.
    """
    if not can_fit_forest(table):
        raise InputError(
            f"The strokes label only {_kinds(table)}; a forest needs coronary pieces and others, or at least "
            f"{_RARE} pieces of each of two kinds."
        )
    learnable = dataclasses.replace(table, labels=_learnable(table))
    return fit_forest(learnable, trees=_TREES, leaf=_LEAF)


def can_fit_forest(table: Samples) -> bool:
    """Whether a table holds two kinds that a forest can learn."""
    return len(np.unique(_learnable(table))) > 1


def _learnable(table: Samples) -> np.ndarray:
    """Labels with kinds that are too rare to learn taken together as ``other``."""
    counts = np.bincount(table.labels, minlength=len(NAMES))
    rare = (counts < _RARE) & (np.arange(len(NAMES)) != CORONARY)
    return np.where(rare[table.labels], OTHER, table.labels).astype(np.uint8)


def _samples(found: Candidates, chosen: np.ndarray, labels: np.ndarray, case: str) -> Samples:
    rows = found.features[chosen]
    return Samples(rows, labels[chosen].astype(np.uint8), np.full(len(rows), case), FEATURES, NAMES)


def training_table(found: Candidates, labels: UserLabels, prior: Samples) -> Samples:
    """The library and, with more weight, the labelled pieces of this scan."""
    own = _samples(found, labels.piece != UNLABELLED, labels.piece, "")
    return join_samples([prior, *[own] * _OWN_WEIGHT])


def classify_candidates(
    found: Candidates, labels: UserLabels, *, forest: Forest | None
) -> ClassifiedCandidates:
    """Classify every piece.

    An unlabelled piece is coronary only in or near the heart, and where it does not go on beyond the margin,
    as bones and the walls of the great vessels do.
    """
    count = found.count
    probability = np.zeros((count, len(NAMES)), np.float32)
    if forest is None:
        probability[:, OTHER] = 1
    elif count:
        probability = forest.probability(found.features, workers=1)
    far = (found.feature("under_surface_mm") < -10 * _NEAR_MM) | found.cut
    probability[far | labels.none, CORONARY] = 0
    labelled = labels.piece != UNLABELLED
    probability[labelled] = 0
    probability[labelled, labels.piece[labelled]] = 1
    rest = probability.copy()
    rest[:, CORONARY] = 0
    kind = np.where(rest.any(axis=1), rest.argmax(axis=1), OTHER)
    label = np.where(probability[:, CORONARY] >= _THRESHOLD, CORONARY, kind).astype(np.uint8)
    return ClassifiedCandidates(found, labels, probability, label, forest)


def coronary_mask(classified: ClassifiedCandidates, shape: tuple[int, ...]) -> np.ndarray:
    """Coronary voxels as uint8 0 or 1 of the scan's shape."""
    mask = np.zeros(shape, np.uint8, order="F")
    voxel = classified.user_labels.voxel
    inner = np.concatenate([[False], classified.label == CORONARY])[classified.candidates.labels]
    mask[classified.candidates.box] = np.where(voxel == UNLABELLED, inner, voxel == CORONARY)
    return mask


def _draft(classified: ClassifiedCandidates, ct: Volume, *, case: str = "") -> DraftMask:
    found, voxel = classified.candidates, classified.user_labels.voxel

    def maps() -> tuple[np.ndarray, np.ndarray]:
        probability, uncertainty = np.zeros((2, *ct.shape), np.uint8)
        percent = np.rint(classified.probability[:, CORONARY] * 100).astype(np.uint8)
        inner = np.concatenate([np.zeros(1, np.uint8), percent])[found.labels]
        cut = voxel != UNLABELLED
        inner[cut] = np.where(voxel[cut] == CORONARY, 100, 0)
        probability[found.box] = inner
        # what is no piece is not uncertain
        uncertainty[found.box] = np.where(found.labels > 0, uncertainty_of(inner), 0)
        return probability, uncertainty

    mask = coronary_mask(classified, ct.shape)
    tally = _tally_of(classified, mask, voxel_mm3=ct.voxel_mm3)
    return DraftMask(mask, maps, samples_of(classified, case), classified.forest, tally)


def _tally_of(classified: ClassifiedCandidates, mask: np.ndarray, *, voxel_mm3: float) -> CalciumTally:
    """Count what was drawn, and what of it no stroke labels."""
    import cc3d

    found, labels = classified.candidates, classified.user_labels
    inner = mask[found.box]
    _, pieces = cc3d.connected_components(inner, connectivity=26, return_N=True)
    cut = np.bincount(found.labels[labels.voxel != UNLABELLED], minlength=found.count + 1)[1:] > 0
    unlabelled = (labels.piece == UNLABELLED) & ~cut
    coronary = classified.label == CORONARY
    unreviewed = np.flatnonzero(unlabelled & coronary)
    unreviewed = unreviewed[np.argsort(-found.volume_mm3[unreviewed], kind="stable")]
    return CalciumTally(
        pieces=int(pieces),
        mm3=round(int(np.count_nonzero(inner)) * voxel_mm3, 1),
        unreviewed=len(unreviewed),
        unreviewed_at_mm=tuple(
            tuple(round(float(value), 1) for value in found.centre_mm[at]) for at in unreviewed[:_MAX_LISTED]
        ),
        left_out=int((unlabelled & ~coronary).sum()),
        missed=len(labels.missed),
    )


def samples_of(classified: ClassifiedCandidates, case: str) -> Samples:
    """The rows that a reviewed scan adds to the library: labelled pieces, and pieces left as they are drawn.

    A noisy scan has thousands of specks; they are thinned, or it would be the only scan that counts.
    """
    found, labelled = classified.candidates, classified.user_labels.piece != UNLABELLED
    visible = visibility(found)
    unsure = ~labelled & (classified.label == CORONARY) & (visible < _OBVIOUS)
    order = np.lexsort((-visible, ~labelled, unsure))[: found.count - int(unsure.sum())]
    # a box may label thousands
    first = min(int(labelled.sum()), TRAINING_PIECES) + TRAINING_PIECES
    rest = order[first:]
    thinned = rest[:: max(1, -(-len(rest) // THINNED_PIECES))]
    return _samples(found, np.sort(np.concatenate([order[:first], thinned])), classified.label, case)


def visibility(found: Candidates) -> np.ndarray:
    """How conspicuous a piece is to a reader: its volume in mm³ times what its peak has above 100 HU."""
    return found.volume_mm3 * (found.feature("peak_hu").astype(np.float64) - 100.0)
