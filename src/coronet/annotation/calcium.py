"""Coronary calcium out of bright pieces: a forest tells what each is, and a person's strokes overrule it."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np

from coronet.annotation.candidate_features import FEATURES
from coronet.annotation.candidates import Candidates, find_candidates
from coronet.annotation.draft_mask import AgreementCount, DraftMask, uncertainty_of
from coronet.annotation.forest import Forest, Samples, check_features, fit_forest, join_samples
from coronet.annotation.named_pieces import CORONARY, NAMES, OTHER, UNSAID, UserLabels, apply_labels
from coronet.annotation.strokes import SAY_NONE, Marks, Strokes, count_strokes
from coronet.errors import InputError
from coronet.io.volume import Volume

logger = logging.getLogger("coronet")

_THRESHOLD = 0.55
"""A piece is coronary from this probability on."""
_TREES, _LEAF = 100, 2
_MOST_NAMED = 5
"""Strokes and places that stand in messages."""
_RARE = 5
"""Kinds with fewer pieces than this in a table are learned as «other»."""
_LEAST_SCANS = 3
"""What no stroke names is drawn once so many other scans teach `_RARE` coronary pieces and as many others."""
_WEIGHT = 4
"""In a teaching scan, pieces that strokes name count as so many of the library's."""
TEACHES, ASIDE = 60, 100
"""Of the pieces that nobody named so many of a scan teach: the most visible, and of the rest every nth."""
_PLAIN = 1000.0
"""A piece drawn as coronary teaches so, unnamed, from this `visibility` on: nobody checks specks."""
_NEAR_MM = 5.0
"""A piece that no stroke names is drawn only where it lies at most so far outside the heart, on average."""


@dataclasses.dataclass(frozen=True)
class ClassifiedCandidates:
    """The pieces of a scan and what each is held for.

    Attributes:
        candidates: the pieces.
        said: what strokes say of them.
        probability: float32 (pieces, `NAMES`); where strokes speak, theirs.
        label: uint8 (pieces,), index into `NAMES`.
        forest: what answered; None where there was none to ask, and what is not said is then ``other``.
    """

    candidates: Candidates
    said: UserLabels
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
) -> DraftMask:
    """Draw the coronary calcium of a scan.

    The forest is grown from other scans alone: strokes overrule it here, and teach it for the next scans. A
    few clicks of one scan, learned at once, would make it find too much in that scan. So where other scans
    teach too little (`_tells`), what no stroke names is not drawn.

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
        InputError: mask and scan do not fit, there is nothing to tell coronary calcium by (`check_enough`),
            or strokes name coronary calcium and none is drawn.
    """
    check_enough(strokes, prior)
    if prior is not None:
        check_features(prior, FEATURES)
    found = find_candidates(ct, heart)
    said = apply_labels(found, strokes, ct)
    judged = classify_candidates(
        found, said, forest=fit_candidate_forest(prior, seed=seed) if _tells(prior) else None
    )
    for faults in (said.missed, said.overruled, said.bony):
        for fault in faults[:_MOST_NAMED]:
            logger.warning("%s.", fault)
        if len(faults) > _MOST_NAMED:
            logger.warning("So it is with %d more strokes.", len(faults) - _MOST_NAMED)
    drawn = _paint(judged, ct, case=case)
    if _names_coronary(strokes) and not drawn.mask.any():
        faults = "; ".join((*said.missed, *said.overruled)[:_MOST_NAMED])
        raise InputError(
            f"Strokes say coronary, and no coronary calcium is left: {faults}. Correct them; {SAY_NONE}."
        )
    return drawn


def _names_coronary(strokes: Strokes | Marks | None) -> bool:
    """Whether any stroke says coronary."""
    if isinstance(strokes, Strokes):
        return any(stroke.label == "coronary" for stroke in strokes.strokes)
    return strokes is not None and len(strokes.of("coronary")) > 0


def check_enough(strokes: Strokes | Marks | None, prior: Samples | None) -> None:
    """Check that coronary calcium can be told at all, before anything is computed.

    Raises:
        InputError: strokes name no coronary calcium and do not say that there is none, and other scans do not
            teach enough (`_tells`).
    """
    if _names_coronary(strokes) or _tells(prior) or (isinstance(strokes, Strokes) and strokes.none):
        return
    needed = (
        f"other scans' strokes teach {_kinds(prior)}; at least {_RARE} coronary pieces and {_RARE} others in "
        f"{_LEAST_SCANS} scans are needed to draw what no stroke names"
    )
    if strokes is None:
        raise InputError(f"Cannot draw calcium without strokes: {needed} (`coronet annotate draw`).")
    raise InputError(
        f"No stroke says coronary (they say {', '.join(count_strokes(strokes))}), and {needed}. Click on the "
        f"coronary calcium; {SAY_NONE}."
    )


def _tells(table: Samples | None) -> bool:
    """Whether a table teaches enough to draw what no stroke names."""
    if table is None:
        return False
    coronary = int((table.labels == CORONARY).sum())
    return (
        min(coronary, len(table.labels) - coronary) >= _RARE and len(np.unique(table.cases)) >= _LEAST_SCANS
    )


def _kinds(table: Samples | None) -> str:
    """What a table holds of each kind, for a message, such as «2 coronary, 1 bone in 1 scan»."""
    if table is None or not len(table.labels):
        return "nothing"
    counts = np.bincount(table.labels, minlength=len(NAMES))
    kinds = ", ".join(f"{count} {name}" for name, count in zip(NAMES, counts, strict=True) if count)
    scans = len(np.unique(table.cases))
    return f"{kinds} in {scans} {'scan' if scans == 1 else 'scans'}"


def fit_candidate_forest(table: Samples, *, seed: int = 0) -> Forest:
    """A forest that tells pieces apart; kinds that are too rare to learn count as ``other``.

    Raises:
        InputError: fewer than two kinds are left.
    """
    if not can_fit_forest(table):
        raise InputError(
            f"The strokes teach only {_kinds(table)}; a forest needs coronary pieces and others, or at least "
            f"{_RARE} pieces of each of two kinds."
        )
    return fit_forest(
        dataclasses.replace(table, labels=_learnable(table)), seed=seed, trees=_TREES, leaf=_LEAF
    )


def can_fit_forest(table: Samples) -> bool:
    """Whether a table holds two kinds that a forest can tell apart."""
    return len(np.unique(_learnable(table))) > 1


def _learnable(table: Samples) -> np.ndarray:
    """Labels with kinds that are too rare to learn taken together as ``other``."""
    counts = np.bincount(table.labels, minlength=len(NAMES))
    rare = (counts < _RARE) & (np.arange(len(NAMES)) != CORONARY)
    return np.where(rare[table.labels], OTHER, table.labels).astype(np.uint8)


def _own(found: Candidates, said: UserLabels, case: str) -> Samples:
    """The pieces that strokes name."""
    named = said.piece != UNSAID
    return Samples(
        found.features[named],
        said.piece[named].astype(np.uint8),
        np.full(int(named.sum()), case),
        FEATURES,
        NAMES,
    )


def table_of(found: Candidates, said: UserLabels, prior: Samples) -> Samples:
    """What to learn from: the library and, with more weight, this scan."""
    return join_samples([prior, *[_own(found, said, "")] * _WEIGHT])


def classify_candidates(
    found: Candidates, said: UserLabels, *, forest: Forest | None
) -> ClassifiedCandidates:
    """Say of every piece what it is.

    What no stroke names is coronary only in or near the heart, and where it does not go on beyond what was
    looked at, as bones and the great vessels' walls do.
    """
    count = found.count
    probability = np.zeros((count, len(NAMES)), np.float32)
    if forest is None:
        probability[:, OTHER] = 1
    elif count:
        probability = forest.probability(found.features, workers=1)
    far = (found.feature("under_surface_mm") < -10 * _NEAR_MM) | found.cut
    probability[far | said.none, CORONARY] = 0
    named = said.piece != UNSAID
    probability[named] = 0
    probability[named, said.piece[named]] = 1
    rest = probability.copy()
    rest[:, CORONARY] = 0
    kind = np.where(rest.any(axis=1), rest.argmax(axis=1), OTHER)
    label = np.where(probability[:, CORONARY] >= _THRESHOLD, CORONARY, kind).astype(np.uint8)
    return ClassifiedCandidates(found, said, probability, label, forest)


def coronary_mask(judged: ClassifiedCandidates, shape: tuple[int, ...]) -> np.ndarray:
    """Coronary voxels as uint8 0 or 1 of the scan's shape."""
    mask = np.zeros(shape, np.uint8, order="F")
    chosen = np.concatenate([[False], judged.label == CORONARY])
    inner = chosen[judged.candidates.labels]
    cut = judged.said.voxel != UNSAID
    inner[cut] = judged.said.voxel[cut] == CORONARY
    mask[judged.candidates.box] = inner
    return mask


def _paint(judged: ClassifiedCandidates, ct: Volume, *, case: str = "") -> DraftMask:
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

    mask = coronary_mask(judged, ct.shape)
    return DraftMask(
        mask, maps, samples_of(judged, case), judged.forest, _tally_of(judged, mask, voxel_mm3=ct.voxel_mm3)
    )


def _tally_of(judged: ClassifiedCandidates, mask: np.ndarray, *, voxel_mm3: float) -> AgreementCount:
    """Count what was drawn, and what of it no stroke names."""
    import cc3d

    found = judged.candidates
    inner = mask[found.box]
    _, pieces = cc3d.connected_components(inner, connectivity=26, return_N=True)
    cut = np.bincount(found.labels[judged.said.voxel != UNSAID], minlength=found.count + 1)[1:] > 0
    unnamed = (judged.said.piece == UNSAID) & ~cut
    drawn = judged.label == CORONARY
    unseen = np.flatnonzero(unnamed & drawn)
    unseen = unseen[np.argsort(-found.volume_mm3[unseen], kind="stable")]
    return AgreementCount(
        pieces=int(pieces),
        mm3=round(int(np.count_nonzero(inner)) * voxel_mm3, 1),
        unseen=len(unseen),
        unseen_at_mm=tuple(
            tuple(round(float(value), 1) for value in found.centre_mm[at]) for at in unseen[:_MOST_NAMED]
        ),
        left_out=int((unnamed & ~drawn).sum()),
        missed=len(judged.said.missed),
    )


def samples_of(judged: ClassifiedCandidates, case: str) -> Samples:
    """What a scan teaches once a person has looked at it: what was named, and what was left as it is drawn.

    A noisy scan has thousands of specks; not all of them teach, or it would be the only one that does.
    """
    found, named = judged.candidates, judged.said.piece != UNSAID
    visible = visibility(found)
    unsure = ~named & (judged.label == CORONARY) & (visible < _PLAIN)
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
