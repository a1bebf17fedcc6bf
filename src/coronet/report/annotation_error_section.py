"""The page's section on what the drawn masks cost, shown where exact masks are known."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from coronet.dataset.cases import Case, find_reference
from coronet.evaluation.annotation_error import AnnotationError, worst_annotations
from coronet.io.volume import read_nifti
from coronet.report.case_views import case_pictures, compare_masks
from coronet.report.html_page import number
from coronet.report.slice_pictures import Picture


@dataclasses.dataclass(frozen=True)
class DrawnSection:
    """What the section shows.

    Attributes:
        figures: (name, value, note).
        rows: largest error of the score first.
        worst: the first of them in pictures.
    """

    figures: tuple[tuple[str, str, str], ...]
    rows: tuple[AnnotationError, ...]
    worst: tuple[Picture, ...]


def drawn_section(
    rows: Sequence[AnnotationError], figures: Mapping[str, Any], cases: Mapping[str, Case]
) -> DrawnSection | None:
    """The section, or None where no test case has exact masks.

    Args:
        rows: of the score stage's table.
        figures: what `coronet.evaluation.annotation_error.summarise_annotation_error` gave.
        cases: by id, with those of ``rows`` among them.
    """
    if not rows:
        return None
    ordered = worst_annotations(rows)
    return DrawnSection(_figures(figures), ordered, _pictures(cases[ordered[0].case]))


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


def _pictures(case: Case) -> tuple[Picture, ...]:
    ct = read_nifti(case.ct)
    heart = read_nifti(case.heart, np.uint8).array > 0
    drawn = read_nifti(case.calcium, np.uint8).array
    exact = read_nifti(find_reference(case, "calcium").path, np.uint8).array
    return case_pictures(ct, heart, calcium=compare_masks(drawn, exact))
