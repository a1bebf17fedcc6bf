"""Mask files that a user gives with a scan, read onto its voxels."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from coronet.errors import InputError
from coronet.io.masks import Labels, read_mask
from coronet.io.reader import Scan

_ARTERIES = 4  # calcium labels 1 to 4 name LM, LAD, LCX and RCA; a mask with higher ones names no arteries


@dataclasses.dataclass(frozen=True)
class MaskSources:
    """Mask files that belong to one scan, and which of their labels are meant (all above zero by default)."""

    heart: Path | None = None
    calcium: Path | None = None
    heart_labels: Labels = None
    calcium_labels: Labels = None
    resample: bool = False


def read_masks(masks: MaskSources, scan: Scan) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The masks by name, and warnings about them.

    Raises:
        InputError: a mask does not fit the scan, or that of the heart is empty.
    """
    warnings: list[str] = []

    def read(path: Path, target: str, labels: Labels) -> np.ndarray:
        found = read_mask(
            path,
            scan.volume,
            target=target,
            identifiers=scan.identifiers,
            labels=labels,
            # A series of masks is added with the same labels; one of them may be empty in some.
            absent_allowed=True,
            resample=masks.resample,
        )
        warnings.extend(f"{target}: {text}" for text in found.warnings.values())
        return found.labels

    wanted = {}
    if masks.heart is not None:
        heart = read(masks.heart, "heart", masks.heart_labels) > 0
        if not heart.any():
            raise InputError(f"{masks.heart}: the heart's mask is empty.")
        wanted["heart"] = heart.astype(np.uint8)
    if masks.calcium is not None:
        calcium = read(masks.calcium, "calcium", masks.calcium_labels)
        if calcium.max(initial=0) > _ARTERIES:
            calcium = (calcium > 0).astype(np.uint8)
        wanted["calcium"] = calcium
    return wanted, tuple(warnings)
