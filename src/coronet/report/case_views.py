"""Which pictures of a case are shown, and what is outlined in them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from coronet.io.volume import Volume
from coronet.report.slice_pictures import (
    CORONAL,
    SAGITTAL,
    Picture,
    axial,
    box_with_margin,
    informative_slices,
    projection,
)

_MARGIN_MM = 22.0
"""How much of the chest around the heart is shown."""
_APART_MM = 7.0
"""Least distance between two axial slices of one case."""
_VESSELS = ("LM", "LAD", "LCX", "RCA")
"""Names of the labels 1-4 of a calcium mask that tells vessels apart."""


def compare_masks(predicted: np.ndarray, reference: np.ndarray) -> dict[str, np.ndarray]:
    """Sort lesions by whether they were found.

    Args:
        predicted: calcium, non-zero (x, y, z).
        reference: calcium, non-zero, on the same grid.

    Returns:
        Boolean masks: ``truth`` all of the reference, ``hit`` predicted lesions that touch it, ``false``
        those that do not, ``missed`` reference lesions that no predicted voxel touches. Lesions are
        26-connected.
    """
    predicted, reference = predicted > 0, reference > 0
    hit = _touching(predicted, reference)
    return {
        "hit": hit,
        "false": predicted & ~hit,
        "missed": reference & ~_touching(reference, predicted),
        "truth": reference,
    }


def _touching(lesions: np.ndarray, other: np.ndarray) -> np.ndarray:
    import cc3d

    labels = cc3d.connected_components(lesions.astype(np.uint8), connectivity=26)
    touched = np.unique(labels[other & lesions])
    keep = np.zeros(int(labels.max()) + 1, dtype=bool)
    keep[touched] = True
    keep[0] = False
    return keep[labels]


def by_vessel(calcium: np.ndarray) -> dict[str, np.ndarray]:
    """Boolean masks by vessel where labels tell them apart, else one mask ``calcium``."""
    if calcium.max(initial=0) <= 1:
        return {"calcium": calcium > 0}
    masks = {name.lower(): calcium == label for label, name in enumerate(_VESSELS, start=1)}
    return {name: mask for name, mask in masks.items() if mask.any()}


def case_pictures(
    ct: Volume,
    heart: np.ndarray,
    *,
    calcium: Mapping[str, np.ndarray],
    count: int = 3,
    numbers: np.ndarray | None = None,
) -> tuple[Picture, ...]:
    """Axial slices where there is most to see, then a coronal and a sagittal maximum projection.

    Args:
        ct: the scan, in HU.
        heart: boolean mask on its grid.
        calcium: boolean masks by kind, as `compare_masks` or `by_vessel` gives them; ``false`` and ``missed``
            draw slices before anything else does.
        count: number of axial slices.
        numbers: lesion numbers on the same grid, written beside each lesion in axial slices.
    """
    weight = np.zeros(ct.shape[2])
    anything = heart.astype(bool)
    for kind, mask in calcium.items():
        weight += mask.sum(axis=(0, 1)) * (5.0 if kind in ("false", "missed") else 1.0)
        anything = anything | mask
    box = box_with_margin(anything, ct.spacing_mm, margin_mm=_MARGIN_MM)
    apart = max(1, round(_APART_MM / ct.spacing_mm[2]))
    masks = {"heart": heart.astype(bool), **calcium}
    slices = informative_slices(weight, heart, count=count, apart=apart)
    pictures = [
        axial(ct, index, masks=masks, box=box, marks=() if numbers is None else _marks(numbers, index))
        for index in slices
    ]
    slab = box_with_margin(heart.astype(bool), ct.spacing_mm, margin_mm=4.0)
    pictures += [projection(ct, view, masks=masks, slab=slab, box=box) for view in (CORONAL, SAGITTAL)]
    return tuple(pictures)


def _marks(numbers: np.ndarray, index: int) -> list[tuple[str, tuple[float, float, float]]]:
    plane = numbers[:, :, index]
    marks = []
    for lesion in np.unique(plane[plane > 0]):
        x, y = np.argwhere(plane == lesion).mean(axis=0)
        marks.append((str(lesion), (float(x), float(y), float(index))))
    return marks
