"""Sessions of the simulated reader: hearts drawn and corrected, and a calcium forest trained scan by scan.

The true labels of bright pieces, from which the reader names them, come from a phantom's truth.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from coronet.annotation import calcium
from coronet.annotation.calcium import ClassifiedCandidates
from coronet.annotation.candidates import Candidates
from coronet.annotation.draft_mask import DraftMask
from coronet.annotation.forest import Forest, Samples, join_samples
from coronet.annotation.heart import PreparedChest, draw_heart
from coronet.annotation.named_pieces import apply_labels
from coronet.annotation.strokes import Stroke, Strokes
from coronet.io.volume import Volume
from coronet.phantom import simulated_reader
from coronet.phantom.curves import norms
from coronet.phantom.wild_confounders import WILD_CONFOUNDERS

_REVIEWS = 3  # how often a training scan is reviewed
BONE_MM3 = 120.0
"""A larger piece that no deposit explains is bone, as is one that goes on away from the heart; else noise."""
_BLOOMING = 4.0  # how many times its volume a deposit may seem to have


def true_labels(pieces: Candidates, truth: Mapping[str, Any], calcium: np.ndarray) -> tuple[str, ...]:
    """Label of each piece: coronary where most of it is, else that of the nearest deposit that explains it.

    No deposit explains bone many times its size, however near it lies.

    Args:
        truth: a phantom's truth file; each of its ``confounders`` has ``kind``, ``centre_mm`` and
            ``volume_mm3``.
        calcium: exact calcium mask, shape of the scan.
    """
    own = np.bincount(pieces.labels.ravel(), minlength=pieces.count + 1)[1:]
    calcified = np.bincount(pieces.labels[calcium[pieces.box] > 0], minlength=pieces.count + 1)[1:]
    others = truth["confounders"]
    places = np.asarray([item["centre_mm"] for item in others], np.float64).reshape(-1, 3)
    most = np.maximum(BONE_MM3, [_BLOOMING * item["volume_mm3"] for item in others])
    sides = np.stack([pieces.feature(name) for name in ("width_mm", "depth_mm", "height_mm")])
    reach = 4.0 + sides.max(axis=0, initial=0) / 20
    labels = []
    for at in range(pieces.count):
        gaps = norms(places - pieces.centre_mm[at])
        gaps[pieces.volume_mm3[at] > most] = np.inf
        if 2 * calcified[at] > own[at]:
            labels.append("coronary")
        elif gaps.size and gaps.min() <= reach[at]:
            labels.append(WILD_CONFOUNDERS[others[int(gaps.argmin())]["kind"]].label)
        else:
            bony = pieces.volume_mm3[at] > BONE_MM3 or pieces.cut[at]
            labels.append("bone" if bony else "noise")
    return tuple(labels)


@dataclasses.dataclass(frozen=True)
class ReaderSession:
    """A scan whose heart is drawn, before its calcium is reviewed."""

    case: str
    seed: int
    candidates: Candidates
    shape: tuple[int, int, int]
    affine: np.ndarray
    truth: tuple[str, ...]  # true label of each candidate

    @property
    def grid(self) -> Volume:
        """The scan's place: clicks do not need its voxels, which are all 0."""
        return Volume(np.broadcast_to(np.int16(0), self.shape), self.affine)

    def classify(self, strokes: Strokes | None, forest: Forest | None) -> ClassifiedCandidates:
        """The pieces as a forest classifies them and strokes overrule it."""
        labels = apply_labels(self.candidates, strokes, self.grid)
        return calcium.classify_candidates(self.candidates, labels, forest=forest)


def draw_heart_in_sessions(
    ct: Volume,
    truth: np.ndarray,
    *,
    case: str,
    seed: int,
    reviews: int = simulated_reader.HEART_REVIEWS,
    prior: Samples | None = None,
) -> Iterator[tuple[DraftMask, Strokes]]:
    """Draw a heart from four lines, then correct it; yields each mask with all strokes so far.

    Args:
        truth: heart mask, shape of ``ct``.
        reviews: how often the heart is corrected; one mask more is drawn than that.
    """
    chest = PreparedChest.of(ct)
    strokes = simulated_reader.simulated_heart_strokes(ct, truth, seed=seed)
    draft = draw_heart(ct, strokes, prior=prior, case=case, chest=chest)
    yield draft, strokes
    for review in range(reviews):
        more = simulated_reader.simulated_heart_corrections(ct, truth, draft.mask, seed=seed, review=review)
        if more:
            strokes = dataclasses.replace(strokes, strokes=strokes.strokes + more)
            draft = draw_heart(ct, strokes, prior=prior, case=case, chest=chest)
        yield draft, strokes


def training_samples(sessions: Iterable[ReaderSession]) -> Samples:
    """Review the training scans one after the other; each is classified by the forest of those before it."""
    tables: list[Samples] = []
    for session in sessions:
        classified = _review(session, join_samples(tables) if tables else None)
        tables.append(calcium.samples_of(classified, session.case))
    return join_samples(tables)


def fit_if_possible(table: Samples | None) -> Forest | None:
    """A forest, where the table holds two kinds of pieces."""
    if table is None or not calcium.can_fit_forest(table):
        return None
    return calcium.fit_candidate_forest(table)


def _review(session: ReaderSession, prior: Samples | None) -> ClassifiedCandidates:
    """Review a training scan several times; the forest learns between the reviews."""
    clicks: list[Stroke] = []
    classified = session.classify(None, fit_if_possible(prior))
    for review in range(_REVIEWS):
        more = simulated_reader.simulated_calcium_strokes(
            session.grid,
            classified,
            session.truth,
            seed=session.seed,
            most=simulated_reader.TRAINING_CLICKS // _REVIEWS,
            review=review,
        )
        if more is None:
            continue
        clicks += more.strokes
        labels = apply_labels(session.candidates, Strokes("calcium", tuple(clicks)), session.grid)
        table = None if prior is None else calcium.training_table(session.candidates, labels, prior)
        classified = calcium.classify_candidates(session.candidates, labels, forest=fit_if_possible(table))
    return classified


def corrected(session: ReaderSession, forest: Forest | None) -> tuple[ClassifiedCandidates, Strokes | None]:
    """Any other scan: wrong pieces are clicked, which overrules the forest and does not train it."""
    classified = session.classify(None, forest)
    clicks = simulated_reader.simulated_calcium_strokes(
        session.grid, classified, session.truth, seed=session.seed
    )
    return (classified, None) if clicks is None else (session.classify(clicks, forest), clicks)
