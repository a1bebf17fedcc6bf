"""Learn where the coronary arteries run, from calcium masks whose labels are vessels."""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from coronet.dataset.cases import find_case, find_reference
from coronet.io.volume import read_nifti
from coronet.networks.vessel_map import VesselMap, sample_places
from coronet.process import worker_pool
from coronet.scoring.calcium_score import VESSELS

if TYPE_CHECKING:
    from coronet.dataset.split import Split

logger = logging.getLogger("coronet")
Places = Sequence[tuple[int, np.ndarray]]
"""Label and features (n, 20) of each lesion; see `coronet.networks.vessel_map.sample_places`."""
_LEAST_LESIONS, _LEAST_PATIENTS = 40, 10  # fewer say more of chance than of anatomy
_LEAST_OF_VESSEL = 3
_STRENGTH = 1.0  # of the lesions against the prior that a place says nothing: sklearn's C


def fit_vessels(data: Path, split: Split, *, workers: int = 2) -> VesselMap | None:
    """The map of the vessels by the training patients' references, judged on the tune patients.

    Args:
        data: the cohort's folder. A case counts where its reference of calcium has labels above 1.
        split: names the patients; those of the test part are not read.
        workers: processes that read masks.

    Returns:
        None where too few lesions have a vessel.
    """
    members = sorted((item.part, item.patient, item.case) for item in split.members if item.part != "test")
    found: dict[str, dict[str, list[tuple[int, np.ndarray]]]] = {"train": {}, "tune": {}}
    with worker_pool(max(1, workers)) as pool:
        read = pool.map(functools.partial(_read_case, data), [case for _, _, case in members])
        for (part, patient, _), places in zip(members, read, strict=True):
            if places:
                found[part].setdefault(patient, []).extend(places)
    return fit_map(found["train"], [lesion for places in found["tune"].values() for lesion in places])


def _read_case(data: Path, name: str) -> Places:
    """The lesions of a case; none where its mask names no vessel, or it has no heart mask."""
    case = find_case(data, name)
    calcium, heart = find_reference(case, "calcium"), find_reference(case, "heart")
    # cases with drawn calcium show the same heart several times, found by a network
    if calcium is None or heart is None or case.facts.drawn_into:
        return ()
    labels = read_nifti(calcium.path, np.uint8)
    # a mask of a single label may as well be one that names no vessel
    if labels.array.max(initial=0) <= 1 or not np.isin(np.unique(labels.array), [0, *VESSELS]).all():
        return ()
    return sample_places(labels.array, read_nifti(heart.path, np.uint8).array > 0)


def fit_map(learned: Mapping[str, Places], checked: Places) -> VesselMap | None:
    """Fit the map; every lesion weighs the same, however large.

    Args:
        learned: lesions by training patient.
        checked: lesions of other patients, to judge the map by.

    Returns:
        None where too few lesions, or lesions of a single vessel, are there.
    """
    from sklearn.linear_model import LogisticRegression

    count = Counter(label for places in learned.values() for label, _ in places)
    labels = tuple(sorted(label for label, times in count.items() if times >= _LEAST_OF_VESSEL))
    lesions = [lesion for places in learned.values() for lesion in places if lesion[0] in labels]
    if len(lesions) < _LEAST_LESIONS or len(learned) < _LEAST_PATIENTS or len(labels) < 2:
        logger.info(
            "Scores name no vessels: %d lesions of %d training patients have one; %d of %d are needed.",
            len(lesions),
            len(learned),
            _LEAST_LESIONS,
            _LEAST_PATIENTS,
        )
        return None
    seen = np.concatenate([features for _, features in lesions])
    true = np.concatenate([np.full(len(features), label) for label, features in lesions])
    weight = np.concatenate([np.full(len(features), 1 / len(features)) for _, features in lesions])
    # the constant is among the features; monomials are scaled, so that the prior treats them alike
    scale = np.sqrt(np.average(seen**2, axis=0, weights=weight)) + 1e-12
    model = LogisticRegression(C=_STRENGTH, fit_intercept=False, max_iter=2000)
    model.fit(seen / scale, true, sample_weight=weight)
    coefficients = model.coef_ / scale
    if len(labels) == 2:
        # sklearn keeps the second of two classes alone
        coefficients = np.concatenate([np.zeros_like(coefficients), coefficients])
    right = sum(
        label == labels[int((features @ coefficients.T).mean(axis=0).argmax())] for label, features in checked
    )
    rows = tuple(tuple(float(f"{value:.6g}") for value in row) for row in coefficients)
    return VesselMap(labels, rows, len(lesions), len(learned), len(checked), right)
