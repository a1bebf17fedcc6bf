"""The page's section on errors of the annotated masks, shown where exact masks are known."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from coronet.dataset.cases import Case
from coronet.evaluation.annotation_error import AnnotationError, worst_annotations
from coronet.report.case_views import compared_pictures
from coronet.report.html_page import number
from coronet.report.slice_pictures import Picture


@dataclasses.dataclass(frozen=True)
class AnnotationErrorSection:
    """Contents of the section."""

    figures: tuple[tuple[str, str, str], ...]  # (name, value, note)
    rows: tuple[AnnotationError, ...]  # largest error of the score first
    worst: tuple[Picture, ...]


def annotation_error_section(
    rows: Sequence[AnnotationError], figures: Mapping[str, Any], cases: Mapping[str, Case]
) -> AnnotationErrorSection | None:
    """The section, or None where no test case has exact masks.

    Args:
        cases: by id, with those of ``rows`` among them.
    """
    if not rows:
        return None
    ordered = worst_annotations(rows)
    worst = cases[ordered[0].case]
    assert worst.heart is not None and worst.calcium is not None, worst.id
    return AnnotationErrorSection(
        _figures(figures), ordered, compared_pictures(worst, heart=worst.heart, calcium=worst.calcium)
    )


def _figures(found: Mapping[str, Any]) -> tuple[tuple[str, str, str], ...]:
    lesions, free = found["lesions"], found["calcium_free"]
    dice = found["heart_dice"]
    return (
        ("heart Dice", number(dice["mean"], 3), f"lowest {number(dice['lowest'], 3)}"),
        ("calcium voxel F1", number(found["voxel_f1"], 3), "pooled over the scans"),
        (
            "lesion F1",
            number(found["lesion_f1"], 3),
            f"{lesions['found']} of {lesions['true']} found, {lesions['false']} false",
        ),
        ("score, mean error", number(found["score_error"], 1), "Agatston units"),
        ("in the same risk group", f"{found['same_group']} of {found['cases']}", "drawn against exact"),
        (
            "calcium-free scans drawn empty",
            f"{free['scored_zero']} of {free['cases']}",
            "by their exact masks",
        ),
    )
