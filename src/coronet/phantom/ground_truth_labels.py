"""True labels of a phantom's bright pieces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from coronet.annotation.candidates import Candidates
from coronet.phantom.confounders import CONFOUNDERS
from coronet.phantom.curves import norms

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
            labels.append(CONFOUNDERS[others[int(gaps.argmin())]["kind"]].label)
        else:
            bony = pieces.volume_mm3[at] > BONE_MM3 or pieces.cut[at]
            labels.append("bone" if bony else "noise")
    return tuple(labels)
