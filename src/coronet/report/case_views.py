"""Choice of a case's pictures, and the outlines in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from coronet.dataset.cases import Case, find_reference, load_mask
from coronet.io.volume import Volume, read_nifti
from coronet.report.slice_pictures import (
    CORONAL,
    SAGITTAL,
    Picture,
    axial,
    box_with_margin,
    informative_slices,
    projection,
)

_MARGIN_MM = 22.0  # how much of the chest around the heart is shown
_APART_MM = 7.0  # least distance between two axial slices of one case
_VESSELS = ("LM", "LAD", "LCX", "RCA")  # names of the labels 1-4 of a calcium mask with vessels


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

    labels = cc3d.connected_components(lesions, connectivity=26)
    return np.isin(labels, np.unique(labels[other & lesions]))


def by_vessel(calcium: np.ndarray) -> dict[str, np.ndarray]:
    """Boolean masks by vessel where there are such labels, else one mask ``calcium``."""
    if calcium.max(initial=0) <= 1:
        return {"calcium": calcium > 0}
    masks = {name.lower(): calcium == label for label, name in enumerate(_VESSELS, start=1)}
    return {name: mask for name, mask in masks.items() if mask.any()}


def compared_pictures(case: Case, *, heart: Path, calcium: Path) -> tuple[Picture, ...]:
    """Pictures of two masks beside the references of their case.

    Args:
        case: with a reference of calcium; one of the heart is outlined where there is one.
        heart: file of the heart mask.
        calcium: file of the calcium mask.
    """
    ct = read_nifti(case.ct)
    heart_reference, calcium_reference = find_reference(case, "heart"), find_reference(case, "calcium")
    assert calcium_reference is not None, case.id
    true_heart = None if heart_reference is None else load_mask(heart_reference.path, ct) > 0
    fates = compare_masks(load_mask(calcium, ct), load_mask(calcium_reference.path, ct))
    return case_pictures(ct, load_mask(heart, ct) > 0, calcium=fates, reference_heart=true_heart)


def case_pictures(
    ct: Volume,
    heart: np.ndarray,
    *,
    calcium: Mapping[str, np.ndarray],
    count: int = 3,
    numbers: np.ndarray | None = None,
    reference_heart: np.ndarray | None = None,
) -> tuple[Picture, ...]:
    """Axial slices with most calcium, then a coronal and a sagittal maximum projection.

    Args:
        heart: boolean mask on its grid.
        calcium: boolean masks by kind, as `compare_masks` or `by_vessel` gives them; ``false`` and ``missed``
            draw slices before anything else does.
        numbers: lesion numbers on the same grid, written beside each lesion in axial slices.
        reference_heart: boolean mask, outlined as ``heart-reference`` where it differs from ``heart``; after
            calcium, the slices come first in which it differs most.
    """
    weight = np.zeros(ct.shape[2])
    anything = heart.astype(bool)
    for kind, mask in calcium.items():
        weight += mask.sum(axis=(0, 1)) * (5.0 if kind in ("false", "missed") else 1.0)
        anything = anything | mask
    masks = {"heart": heart.astype(bool), **calcium}
    if reference_heart is not None and not np.array_equal(masks["heart"], reference_heart):
        differing = (masks["heart"] != reference_heart).sum(axis=(0, 1))
        # less than one voxel of calcium
        weight += differing / (2 * differing.max())
        masks = {"heart": masks["heart"], "heart-reference": reference_heart, **calcium}
        anything |= reference_heart
    box = box_with_margin(anything, ct.spacing_mm, margin_mm=_MARGIN_MM)
    apart = max(1, round(_APART_MM / ct.spacing_mm[2]))
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
