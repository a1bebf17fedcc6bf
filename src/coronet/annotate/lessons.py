"""How forests are taught on phantoms: a simulated person corrects scan after scan."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

from coronet.annotate import calcium, simulate
from coronet.annotate.calcium import Judged
from coronet.annotate.candidates import Candidates
from coronet.annotate.forest import Forest, Samples, join
from coronet.annotate.strokes import Strokes
from coronet.cohort.volume import Volume

LOOKS = 3
"""How often the person looks at a teaching scan."""


@dataclasses.dataclass(frozen=True)
class Lesson:
    """A scan with its heart drawn, before the person looks at its calcium.

    Attributes:
        case: its id.
        seed: of the person's eyes on it.
        heart: what its lines teach.
        candidates: its bright pieces.
        grid: the scan's place; its voxels do not matter.
        known: the truth that the person is asked about.
    """

    case: str
    seed: int
    heart: Samples
    candidates: Candidates
    grid: Volume
    known: simulate.Known


@dataclasses.dataclass(frozen=True)
class Library:
    """What the teaching scans taught."""

    heart: Samples
    calcium: Samples


def teach(lessons: Iterable[Lesson]) -> Library:
    """Go through the teaching scans one after the other; each is drawn by what those before it taught."""
    hearts: list[Samples] = []
    tables: list[Samples] = []
    for lesson in lessons:
        hearts.append(lesson.heart)
        prior = join(tables) if tables else None
        judged = _taught(lesson, prior)
        tables.append(calcium.samples_of(judged, lesson.case))
    return Library(join(hearts), join(tables))


def grow_where_it_can(table: Samples | None) -> Forest | None:
    """A forest, where there are two kinds of pieces to tell apart."""
    if table is None or len(np.unique(table.labels)) < 2:
        return None
    return calcium.grow(table)


def _taught(lesson: Lesson, prior: Samples | None) -> Judged:
    """A teaching scan: the person looks several times, and the forest learns between the looks."""
    found, clicks = lesson.candidates, []
    said = calcium.hear(found, None, lesson.grid)
    judged = calcium.judge(found, said, forest=grow_where_it_can(prior))
    for look in range(LOOKS):
        most = simulate.TEACHING_CLICKS // LOOKS
        more = simulate.calcium_strokes(
            lesson.grid, judged, lesson.known, seed=lesson.seed, most=most, look=look
        )
        if more is None:
            continue
        clicks += more.strokes
        said = calcium.hear(found, Strokes("calcium", tuple(clicks)), lesson.grid)
        learned = None if prior is None else calcium.table_of(found, said, prior)
        judged = calcium.judge(found, said, forest=grow_where_it_can(learned))
    return judged


def corrected(lesson: Lesson, grown: Forest | None) -> tuple[Judged, Strokes | None]:
    """Any other scan: the person clicks on what is wrong; what is clicked is overruled and no more."""
    found = lesson.candidates
    judged = calcium.judge(found, calcium.hear(found, None, lesson.grid), forest=grown)
    clicks = simulate.calcium_strokes(lesson.grid, judged, lesson.known, seed=lesson.seed)
    if clicks is None:
        return judged, None
    return calcium.judge(found, calcium.hear(found, clicks, lesson.grid), forest=grown), clicks
