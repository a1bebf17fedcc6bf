"""The error of annotated training masks: compared with exact masks, case by case."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from coronet.dataset.cases import EXACT, Case, find_reference, load_mask
from coronet.evaluation.tables import read_rows
from coronet.imaging.mask_metrics import LesionMatch, Overlap, match_lesions, overlap, summarise_metrics
from coronet.io.volume import Volume
from coronet.scoring.calcium_score import score_calcium
from coronet.scoring.protocol import Protocol
from coronet.scoring.risk_groups import Groups

TABLE = "drawn.csv"


@dataclasses.dataclass(frozen=True)
class AnnotationError:
    """One case whose drawn masks can be held against exact ones."""

    case: str  # its id
    heart_dice: float  # of the drawn heart
    both: int  # calcium voxels that are in both masks
    drawn_only: int  # in the drawn mask alone
    exact_only: int  # in the exact mask alone
    lesions: int  # of the exact mask
    lesions_found: int  # those that the drawn mask touches
    lesions_drawn: int  # of the drawn mask
    lesions_false: int  # drawn ones that touch none
    drawn_agatston: float  # score of the drawn mask
    exact_agatston: float  # score of the exact mask with the same protocol
    drawn_group: str  # risk group by the drawn mask
    exact_group: str  # risk group by the exact mask

    @property
    def voxels(self) -> Overlap:
        """Of the calcium."""
        return Overlap(self.both, self.drawn_only, self.exact_only)

    @property
    def matched(self) -> LesionMatch:
        """Lesions of both masks."""
        return LesionMatch(self.lesions, self.lesions_found, self.lesions_drawn, self.lesions_false)


def measure_annotation_error(
    case: Case, ct: Volume, protocol: Protocol, groups: Groups
) -> AnnotationError | None:
    """Hold a case's masks against its exact ones; None where it has not both of both."""
    found = [find_reference(case, model) for model in ("heart", "calcium")]
    exact = [reference.path for reference in found if reference and reference.kind == EXACT]
    if len(exact) < 2 or not (case.heart and case.calcium):
        return None
    heart, calcium = (load_mask(path, ct) for path in exact)
    drawn_heart, drawn = load_mask(case.heart, ct), load_mask(case.calcium, ct)
    voxels, lesions = overlap(calcium, drawn), match_lesions(calcium, drawn)
    scores = [score_calcium(ct, mask, protocol=protocol).scores.agatston for mask in (drawn, calcium)]
    return AnnotationError(
        case=case.id,
        heart_dice=overlap(heart, drawn_heart).dice or 0.0,
        both=voxels.both,
        drawn_only=voxels.predicted_only,
        exact_only=voxels.true_only,
        lesions=lesions.true,
        lesions_found=lesions.found,
        lesions_drawn=lesions.predicted,
        lesions_false=lesions.false,
        drawn_agatston=round(scores[0], 3),
        exact_agatston=round(scores[1], 3),
        drawn_group=groups.label(scores[0]),
        exact_group=groups.label(scores[1]),
    )


def summarise_annotation_error(rows: Sequence[AnnotationError]) -> dict[str, Any]:
    """What ``metrics.json`` holds of the drawn masks; empty where no case has exact ones."""
    if not rows:
        return {}
    voxels = sum((row.voxels for row in rows), Overlap(0, 0, 0))
    lesions = sum((row.matched for row in rows), LesionMatch(0, 0, 0, 0))
    apart = [abs(row.drawn_agatston - row.exact_agatston) for row in rows]
    free = [row for row in rows if row.exact_agatston == 0]
    return {
        "cases": len(rows),
        "heart_dice": dataclasses.asdict(summarise_metrics(row.heart_dice for row in rows)),
        "voxel_f1": voxels.f1,
        "lesion_f1": lesions.f1,
        "lesions": dataclasses.asdict(lesions),
        "score_error": sum(apart) / len(apart),
        "same_group": sum(row.drawn_group == row.exact_group for row in rows),
        "calcium_free": {"cases": len(free), "scored_zero": sum(row.drawn_agatston == 0 for row in free)},
    }


def read_annotation_error(path: Path) -> tuple[AnnotationError, ...]:
    """Read the table, nothing where it is absent; an `InputError` names a column that is not understood."""
    return read_rows(path, AnnotationError) if Path(path).exists() else ()


def worst_annotations(rows: Sequence[AnnotationError]) -> tuple[AnnotationError, ...]:
    """The largest error of the score first, then the worst heart."""
    return tuple(
        sorted(
            rows, key=lambda row: (-abs(row.drawn_agatston - row.exact_agatston), row.heart_dice, row.case)
        )
    )
