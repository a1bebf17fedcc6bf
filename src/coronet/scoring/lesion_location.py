"""Where in the heart a lesion lies, in words that need no vessel labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_SIDES = ("left side", "midline", "right side")
_DEPTHS = ("back", "mid-depth", "front")
_LEVELS = ("lower third", "middle third", "upper third")


def places_in_heart(voxels: Sequence[Sequence[float]], heart: np.ndarray) -> tuple[str, ...]:
    """Name the thirds of the heart's box that voxels lie in, along each axis.

    Args:
        voxels: (x, y, z) each, in an RAS+ array.
        heart: boolean mask of that array's shape, not empty.

    Returns:
        Such as ``left side, front, upper third``; sides are the patient's. Outside of the box the nearest.
    """
    filled = [np.flatnonzero(heart.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
    low = np.array([indices[0] for indices in filled])
    size = np.array([indices[-1] for indices in filled]) - low + 1
    thirds = np.clip((np.reshape(voxels, (-1, 3)) - low + 0.5) / size * 3, 0, 2).astype(int)
    return tuple(f"{_SIDES[x]}, {_DEPTHS[y]}, {_LEVELS[z]}" for x, y, z in thirds)
