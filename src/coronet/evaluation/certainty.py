"""How sure scores are, and how sure they should be: calibration of lesions and coverage of intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from coronet.evaluation.candidate_outcomes import CandidateOutcomes, pool
from coronet.evaluation.case_scores import CaseScore
from coronet.fingerprint import canonical
from coronet.networks.calibration import Calibration, measure_reliability


def summarise_certainty(
    rows: Sequence[CaseScore],
    outcomes: Sequence[CandidateOutcomes | None],
    calibration: Calibration | None,
) -> dict[str, Any] | None:
    """Reliability of the probabilities of candidates, and how often intervals and groups hold the reference.

    Args:
        rows: scored cases.
        outcomes: of their candidates; None where no heart was found.
        calibration: that gave the intervals; without it, or without a heart, there is nothing to measure, and
            None is returned.
    """
    found = [item for item in outcomes if item is not None]
    if calibration is None or not found:
        return None
    judged = pool(found)
    intervals = [(row.low, row.high, row) for row in rows if row.low is not None and row.high is not None]
    covered = [low <= row.reference_agatston <= high for low, high, row in intervals]
    sets = [row.likely_groups.split(" ") for _, _, row in intervals]
    held = [row.reference_group in groups for groups, (_, _, row) in zip(sets, intervals, strict=True)]
    return {
        "network": canonical(measure_reliability(judged.network, judged.true)),
        "calibrated": canonical(
            measure_reliability(calibration.probability(judged.network, judged.volume_mm3), judged.true)
        ),
        "interval": {
            "cases": len(intervals),
            "covered": sum(covered),
            "median_width": float(np.median([high - low for low, high, _ in intervals]))
            if intervals
            else None,
            # of the counted score, MESA's limit for two scans of one patient (PubMed 18212206)
            "median_limit": float(np.median([repeatability_limit(row.predicted_agatston) for row in rows])),
        },
        "groups": {
            "held": sum(held),
            "sure": sum(len(groups) == 1 for groups in sets),
            "sure_and_right": sum(ok for ok, groups in zip(held, sets, strict=True) if len(groups) == 1),
        },
        "missed": {"lesions": len(judged.missed), "scans": sum(bool(item.missed) for item in found)},
    }


def repeatability_limit(agatston: float) -> float:
    """Two scans of one patient differ by less in 95 of 100 pairs: 4.89 √A + 0.17 A (PubMed 18212206)."""
    return 4.89 * math.sqrt(agatston) + 0.17 * agatston
