"""Name the coronary artery of calcium that networks found, by its place in the heart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from coronet.networks.vessel_map import HeartFrame, VesselMap
from coronet.scoring.calcium_score import VESSELS
from coronet.scoring.counted_voxels import CountedCalcium
from coronet.scoring.lesions import Lesion

_LEAST_SHARE = 0.15
"""Of a lesion; a vessel with fewer of its voxels gives them to the others: the map has no sharp borders."""


def label_vessels(calcium: np.ndarray, heart: np.ndarray, vessels: VesselMap) -> np.ndarray:
    """Label every voxel of a calcium mask by its vessel, as `coronet.scoring.calcium_score.VESSELS` does.

    A lesion lies in one vessel, or in those that hold a fair share of it: a plaque may reach from the left
    main into its branches.

    Args:
        calcium: bool, shape (x, y, z).
        heart: mask of the same shape, not empty.
        vessels: the fitted map.

    Returns:
        uint8, shape (x, y, z); 0 outside of the calcium.
    """
    import cc3d

    labels = np.zeros(calcium.shape, np.uint8, order="F")
    place = np.nonzero(calcium)
    if not len(place[0]):
        return labels
    chances = vessels.probabilities(np.stack(place, axis=1), HeartFrame.of_mask(heart))
    box = tuple(slice(int(axis.min()), int(axis.max()) + 1) for axis in place)
    part = cc3d.connected_components(np.asfortranarray(calcium[box]), connectivity=26)[calcium[box]] - 1
    best = chances.argmax(axis=1)
    columns = range(len(vessels.labels))
    inside = [np.bincount(part, weights=best == column) for column in columns]
    share = np.stack(inside, axis=1) / np.bincount(part)[:, None]
    kept = share >= np.minimum(_LEAST_SHARE, share.max(axis=1, keepdims=True))
    best = np.where(kept[part], chances, -1.0).argmax(axis=1)
    labels[place] = np.array(vessels.labels, np.uint8)[best]
    return labels


def vessel_chances(
    lesions: Sequence[Lesion], calcium: CountedCalcium, heart: np.ndarray, vessels: VesselMap
) -> tuple[float, ...]:
    """Probability that each lesion lies in the vessel that it is given: the mean of its voxels.

    Args:
        lesions: of a mask that `label_vessels` labelled.
        calcium: the voxels that they were made of.
        heart: mask of the scan's shape.
        vessels: the fitted map.
    """
    if not lesions:
        return ()
    chances = vessels.probabilities(calcium.index, HeartFrame.of_mask(heart))
    count = np.bincount(calcium.lesion)
    means = np.stack([np.bincount(calcium.lesion, weights=column) / count for column in chances.T], axis=1)
    centres = np.stack(
        [np.bincount(calcium.lesion, weights=axis) / count for axis in calcium.index.T], axis=1
    )
    columns = {VESSELS[label]: column for column, label in enumerate(vessels.labels)}
    found = []
    for lesion in lesions:
        assert lesion.vessel is not None, lesion.number
        # lesions are sorted by their score, and the voxels' numbers are not
        row = int(np.abs(centres - lesion.centre_voxel).sum(axis=1).argmin())
        found.append(float(means[row, columns[lesion.vessel]]))
    return tuple(found)
