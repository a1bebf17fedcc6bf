"""Where in the heart a lesion lies, in words that need no vessel labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SIDES = ("left side", "midline", "right side")
DEPTHS = ("back", "mid-depth", "front")
LEVELS = ("lower third", "middle third", "upper third")


def place_in_heart(voxel: Sequence[float], heart: np.ndarray) -> str:
    """Name the third of the heart's box that a voxel lies in, along each axis.

    Args:
        voxel: (x, y, z) in an RAS+ array.
        heart: boolean mask of that array's shape, not empty.

    Returns:
        Such as ``left side, front, upper third``; sides are the patient's.
    """
    words = []
    for axis, names in enumerate((SIDES, DEPTHS, LEVELS)):
        others = tuple(other for other in range(3) if other != axis)
        filled = np.flatnonzero(heart.any(axis=others))
        share = (voxel[axis] - filled[0] + 0.5) / (filled[-1] - filled[0] + 1)
        words.append(names[int(np.clip(share * 3, 0, 2))])
    return ", ".join(words)
