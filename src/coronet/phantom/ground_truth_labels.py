"""True labels of a phantom's bright pieces."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from coronet.annotation.calcium import ClassifiedCandidates

_KINDS = {
    "coronary": "coronary",
    "aortic_wall": "aorta",
    "aortic_valve": "valve",
    "mitral_annulus": "valve",
    "rib_end": "bone",
    "lead": "metal",
    "sternal_wire": "metal",
    "clip": "metal",
    "stent": "metal",
    "node": "other",
    "pericardial_plate": "other",
    "speck": "other",
}
"""Label of each kind of a phantom's deposits."""
BONE_MM3 = 120.0
"""A larger piece that no deposit explains is bone, as is one that goes on away from the heart; else noise."""
_BLOOMING = 4.0  # how many times its volume a deposit may seem to have


@dataclasses.dataclass(frozen=True)
class ComponentTruth:
    """Ground truth of one scan."""

    coronary: np.ndarray  # exact calcium mask, shape of the scan
    # ``lesions`` and ``confounders`` of the truth file: each has ``kind``, ``centre_mm`` and ``volume_mm3``
    deposits: tuple[Mapping[str, Any], ...]


def component_truth(truth: Mapping[str, Any], coronary: np.ndarray) -> ComponentTruth:
    """Ground truth from a truth file and the exact mask."""
    return ComponentTruth(coronary, (*truth["lesions"], *truth["confounders"]))


def true_names(classified: ClassifiedCandidates, truth: ComponentTruth) -> list[str]:
    """Name of each piece: coronary where most of it is, else that of the nearest deposit that explains it.

    No deposit explains bone many times its size, however near it lies.
    """
    pieces = classified.candidates
    own = np.bincount(pieces.labels.ravel(), minlength=pieces.count + 1)[1:]
    inside = pieces.labels[truth.coronary[pieces.box] > 0]
    calcified = np.bincount(inside, minlength=pieces.count + 1)[1:]
    others = [item for item in truth.deposits if item["kind"] != "coronary"]
    places = np.asarray([item["centre_mm"] for item in others], np.float64).reshape(-1, 3)
    most = np.maximum(BONE_MM3, [_BLOOMING * item["volume_mm3"] for item in others])
    sides = np.stack([pieces.feature(name) for name in ("width_mm", "depth_mm", "height_mm")])
    reach = 4.0 + sides.max(axis=0, initial=0) / 20
    names = []
    for at in range(pieces.count):
        if 2 * calcified[at] > own[at]:
            names.append("coronary")
            continue
        step = places - pieces.centre_mm[at]
        gaps = np.sqrt(step[:, 0] ** 2 + step[:, 1] ** 2 + step[:, 2] ** 2)
        gaps[pieces.volume_mm3[at] > most] = np.inf
        if gaps.size and gaps.min() <= reach[at]:
            names.append(_KINDS.get(others[int(gaps.argmin())]["kind"], "other"))
        else:
            bony = pieces.volume_mm3[at] > BONE_MM3 or pieces.cut[at]
            names.append("bone" if bony else "noise")
    return names
