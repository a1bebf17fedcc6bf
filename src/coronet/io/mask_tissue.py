"""Whether the voxels under a mask can be what the mask says they are, by their HU."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from coronet.errors import InputError
from coronet.io.volume import CALCIUM_HU, LUNG_HU, Volume

_MOST_AIR = 0.1
_MOST_FAINT = 0.5
"""Masks drawn by hand around calcium hold up to a third of rim below 130 HU; those beside it hold more."""


def tissue_warnings(labels: np.ndarray, ct: Volume, target: str | None, path: Path) -> dict[str, str]:
    """What the HU under a mask say against it.

    Args:
        labels: the mask, shape of ``ct``; anything but 0 belongs to it.
        ct: HU.
        target: ``heart`` or ``calcium``; None checks nothing.
        path: of the mask, for errors.

    Returns:
        A short key and a sentence without a full stop for each.

    Raises:
        InputError: the whole mask lies in air or lung.
    """
    if target is None:
        return {}
    hu = ct.array[labels != 0]
    if not hu.size:
        return {"mask_empty": f"the mask is empty: it marks no {target}"}
    with np.errstate(invalid="ignore"):
        air, faint = float((hu < LUNG_HU).mean()), float((hu < CALCIUM_HU).mean())
    if air == 1:
        raise InputError(
            f"{path}: the whole mask lies in air or lung (below {LUNG_HU:g} HU), where no {target} is. "
            "It was drawn on another scan, or one of the two lost its place."
        )
    warnings = {}
    if air > _MOST_AIR:
        warnings["mask_in_air"] = (
            f"{100 * air:.0f} % of the {target} mask lies in air or lung (below {LUNG_HU:g} HU); check that "
            "mask and scan belong together"
        )
    if target == "calcium" and faint > _MOST_FAINT:
        warnings["mask_below_130"] = (
            f"{100 * faint:.0f} % of the calcium mask is below {CALCIUM_HU:g} HU, which calcium is not; "
            "check that mask and scan belong together"
        )
    return warnings
