"""The table ``scores.csv``: predicted and reference score of each test case."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

from coronet.evaluation.tables import read_rows


@dataclasses.dataclass(frozen=True)
class CaseScore:
    """One test case, predicted and reference."""

    case: str  # its id
    source: str  # where the scan came from, such as `phantom`
    predicted_agatston: float  # score of the masks that the networks drew
    reference_agatston: float  # score of the case's mask with the same protocol
    predicted_volume_mm3: float  # calcium at or above the protocol's threshold
    reference_volume_mm3: float  # the same of the case's mask
    predicted_group: str  # risk group by the preset in force
    reference_group: str  # the same of the reference score
    heart_dice: float | None  # of the predicted heart; None where the case has no heart mask
    calcium_dice: float | None  # of the predicted calcium's voxels; None where both masks are empty
    lesions: int  # lesions of the case's mask
    lesions_found: int  # those that a predicted voxel touches
    lesions_false: int  # predicted lesions that touch none
    # of the 90 % interval of the predicted score; None where the calcium network was not calibrated
    low: float | None
    high: float | None
    likely_groups: (
        str  # the fewest groups that hold 90 %, divided by spaces; empty where there is no interval
    )
    # kind of the calcium mask compared with, `exact` or `drawn`; see `coronet.dataset.cases.find_reference`
    reference: str


def read_case_scores(path: Path) -> tuple[CaseScore, ...]:
    """Read ``scores.csv``; an `InputError` names a column that is missing or not understood."""
    return read_rows(path, CaseScore)


def worst_first(rows: Sequence[CaseScore], groups: Sequence[str]) -> tuple[CaseScore, ...]:
    """Order cases by how many risk groups they are off, then by the error of the score.

    The error is taken on a logarithmic scale, log(1 + score): 0 for 40 is worse than 900 for 1000.
    """

    def rank(row: CaseScore) -> tuple[float, float, float, str]:
        off = abs(groups.index(row.predicted_group) - groups.index(row.reference_group))
        error = abs(math.log1p(row.predicted_agatston) - math.log1p(row.reference_agatston))
        return -off, -error, row.heart_dice or 0.0, row.case

    return tuple(sorted(rows, key=rank))
