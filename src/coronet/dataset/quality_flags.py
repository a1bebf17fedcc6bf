"""Reasons to be careful with a scan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from coronet.dataset.chest_view import ChestView, view_chest
from coronet.dataset.heart_check import (
    HEART_PLACE,
    HEART_SHAPE,
    HEART_SIDE,
    HEART_SIZE,
    INCOMPLETE,
    check_heart,
)
from coronet.io.scan_facts import ScanFacts
from coronet.io.volume import Volume

CONTRAST = "contrast"
NOT_HU = "not_hu"
SHIFTED = "hu_shifted"
NO_HEART = "no_heart_in_view"
UNFAMILIAR = "unfamiliar"
_THICK = "thick_slices"
FLAGS = {
    CONTRAST: "a contrast agent was given; blood is as bright as calcium",
    NOT_HU: "the values are no HU (air near -1000 or soft tissue near 40 is absent)",
    SHIFTED: "HU are shifted: fat lies far from -100 and muscle far from 40",
    NO_HEART: "no heart between two lungs that hold air is in view",
    INCOMPLETE: "the heart may not be whole in the scan",
    HEART_SIZE: "the heart has no plausible size",
    HEART_SHAPE: "the heart has no plausible shape",
    HEART_PLACE: "the heart lies in no plausible place",
    HEART_SIDE: "the heart lies on the right: mirrored, or situs inversus",
    UNFAMILIAR: "the scan is unlike those that the heart network learned from",
    _THICK: "slices are more than 5 mm apart; small calcium is missed",
}
"""Every flag and what it means, in words for people."""

UNFIT = (
    CONTRAST,
    NOT_HU,
    SHIFTED,
    NO_HEART,
    INCOMPLETE,
    HEART_SIZE,
    HEART_SHAPE,
    HEART_PLACE,
    HEART_SIDE,
    UNFAMILIAR,
)
"""Flags that forbid a score and keep a scan out of training, tuning and testing."""

_LEAST_LENGTH_MM = 100.0
_THICKEST_MM = 5.0


def quality_flags(volume: Volume, facts: ScanFacts, heart: np.ndarray | None = None) -> tuple[str, ...]:
    """Flags of a scan, in the order of `FLAGS`.

    Args:
        volume: HU in RAS+; where the values are no HU, the picture is not examined.
        facts: of the same scan; only ``contrast`` counts.
        heart: boolean heart mask, shape of ``volume``, which decides whether the heart is whole. Without one,
            lungs and mediastinum do.
    """
    flags, chest = examine_scan(volume, facts)
    found = set(flags)
    if heart is not None:
        found = set(check_scan_heart(dict.fromkeys(flags, ""), heart, volume, chest))
    elif volume.shape[2] * volume.spacing_mm[2] < _LEAST_LENGTH_MM or (
        chest is not None and NO_HEART not in found and chest.is_cut()
    ):
        found.add(INCOMPLETE)
    return in_flag_order(found)


def check_scan_heart(
    warnings: Mapping[str, str],
    heart: np.ndarray,
    ct: Volume,
    chest: ChestView | None,
    near_mm: Sequence[float] = (0, 0, 0),
) -> dict[str, str]:
    """Warnings together with those of a heart mask.

    Where the picture shows no heart between two lungs and the mask is part of one that the scan cuts, that it
    is cut is the reason; any other mask is none of a heart.

    Args:
        warnings: flags of `examine_scan` and each in words.
        heart: boolean, shape (x, y, z) of ``ct``.
        ct: HU, RAS+.
        chest: as `examine_scan` finds it.
        near_mm: see `coronet.dataset.heart_check.cut_sides`.
    """
    faults = check_heart(heart, ct, chest, near_mm)
    if NO_HEART not in warnings:
        return {**warnings, **faults}
    if INCOMPLETE not in faults:
        return dict(warnings)
    kept = {flag: words for flag, words in warnings.items() if flag != NO_HEART}
    return {**kept, **faults}


def in_flag_order(flags: Iterable[str]) -> tuple[str, ...]:
    """Flags in the order of `FLAGS`, each once."""
    return tuple(sorted(set(flags), key=list(FLAGS).index))


def examine_scan(volume: Volume, facts: ScanFacts) -> tuple[tuple[str, ...], ChestView | None]:
    """The flags that need no heart mask, and the chest; None where the values are no HU.

    ``volume`` is HU in RAS+; of ``facts`` only ``contrast`` counts.
    """
    flags = set()
    if volume.spacing_mm[2] > _THICKEST_MM:
        flags.add(_THICK)
    if facts.contrast:
        flags.add(CONTRAST)
    chest = view_chest(volume)
    if chest is None:
        flags.add(NOT_HU)
    elif chest.is_shifted():
        # lungs, blood and heart were looked for by HU
        flags.add(SHIFTED)
    elif not chest.has_heart():
        flags.add(NO_HEART)
    elif chest.is_bright():
        flags.add(CONTRAST)
    return in_flag_order(flags), chest
