"""How a simulated person draws hearts on phantoms, and teaches a forest their calcium scan after scan."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np

from coronet.annotation import calcium
from coronet.annotation.calcium import ClassifiedCandidates
from coronet.annotation.candidates import Candidates
from coronet.annotation.draft_mask import DraftMask
from coronet.annotation.forest import Forest, Samples, join_samples
from coronet.annotation.heart import PreparedChest, draw_heart
from coronet.annotation.named_pieces import apply_labels
from coronet.annotation.strokes import Strokes
from coronet.io.volume import Volume
from coronet.phantom import simulated_reader
from coronet.phantom.ground_truth_labels import ComponentTruth

_LOOKS = 3
"""How often the person looks at a teaching scan."""


@dataclasses.dataclass(frozen=True)
class ReaderSession:
    """A scan with its heart drawn, before the person looks at its calcium.

    Attributes:
        case: its id.
        seed: of the person's eyes on it.
        candidates: its bright pieces.
        shape: of the scan.
        affine: of the scan.
        known: the truth that the person is asked about.
    """

    case: str
    seed: int
    candidates: Candidates
    shape: tuple[int, int, int]
    affine: np.ndarray
    known: ComponentTruth

    @property
    def grid(self) -> Volume:
        """The scan's place: clicks do not need its voxels, which are all 0."""
        return Volume(np.broadcast_to(np.int16(0), self.shape), self.affine)


def draw_heart_in_sessions(
    ct: Volume,
    truth: np.ndarray,
    *,
    case: str,
    seed: int,
    looks: int = simulated_reader.HEART_LOOKS,
    prior: Samples | None = None,
) -> Iterator[tuple[DraftMask, Strokes]]:
    """A heart as a person gets it who draws four lines, looks, and corrects, with all strokes so far.

    Args:
        ct: the scan.
        truth: heart mask, shape of ``ct``.
        case: its id.
        seed: of the person's choices and hand.
        looks: how often the person looks; one heart more is drawn than that.
        prior: what other scans taught.
    """
    chest = PreparedChest.of(ct)
    said = simulated_reader.simulated_heart_strokes(ct, truth, seed=seed)
    drawn = draw_heart(ct, said, prior=prior, case=case, chest=chest)
    yield drawn, said
    for look in range(looks):
        more = simulated_reader.simulated_heart_corrections(ct, truth, drawn.mask, seed=seed, look=look)
        if more:
            said = dataclasses.replace(said, strokes=said.strokes + more)
            drawn = draw_heart(ct, said, prior=prior, case=case, chest=chest)
        yield drawn, said


def read_cohort(lessons: Iterable[ReaderSession]) -> Samples:
    """Go through the teaching scans one after the other; each is drawn by what those before it taught."""
    tables: list[Samples] = []
    for lesson in lessons:
        judged = _taught(lesson, join_samples(tables) if tables else None)
        tables.append(calcium.samples_of(judged, lesson.case))
    return join_samples(tables)


def grow_where_it_can(table: Samples | None) -> Forest | None:
    """A forest, where there are two kinds of pieces to tell apart."""
    return (
        calcium.fit_candidate_forest(table) if table is not None and calcium.can_fit_forest(table) else None
    )


def _taught(lesson: ReaderSession, prior: Samples | None) -> ClassifiedCandidates:
    """A teaching scan: the person looks several times, and the forest learns between the looks."""
    found, clicks = lesson.candidates, []
    said = apply_labels(found, None, lesson.grid)
    judged = calcium.classify_candidates(found, said, forest=grow_where_it_can(prior))
    for look in range(_LOOKS):
        most = simulated_reader.TEACHING_CLICKS // _LOOKS
        more = simulated_reader.simulated_calcium_strokes(
            lesson.grid, judged, lesson.known, seed=lesson.seed, most=most, look=look
        )
        if more is None:
            continue
        clicks += more.strokes
        said = apply_labels(found, Strokes("calcium", tuple(clicks)), lesson.grid)
        learned = None if prior is None else calcium.table_of(found, said, prior)
        judged = calcium.classify_candidates(found, said, forest=grow_where_it_can(learned))
    return judged


def corrected(lesson: ReaderSession, grown: Forest | None) -> tuple[ClassifiedCandidates, Strokes | None]:
    """Any other scan: the person clicks on what is wrong; what is clicked is overruled and no more."""
    found = lesson.candidates
    judged = calcium.classify_candidates(found, apply_labels(found, None, lesson.grid), forest=grown)
    clicks = simulated_reader.simulated_calcium_strokes(lesson.grid, judged, lesson.known, seed=lesson.seed)
    if clicks is None:
        return judged, None
    return calcium.classify_candidates(found, apply_labels(found, clicks, lesson.grid), forest=grown), clicks
