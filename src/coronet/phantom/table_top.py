"""The scanner's couch under the patient: a curved shell filled with foam."""

from __future__ import annotations

import numpy as np

from coronet.phantom.acquisition_protocols import ScanSettings
from coronet.phantom.random_draws import between

_AIR_HU = -1000.0
_STRIDE = 8
"""Every how many voxels the patient's back is looked for."""


def draw_couch(rng: np.random.Generator, hu: np.ndarray, settings: ScanSettings) -> np.ndarray | None:
    """HU of the couch in any slice, (y, x) float32 with air elsewhere, or None where it is out of view.

    Args:
        rng: source of randomness.
        hu: (x, y, z) tissue; the couch lies below all of it.
        settings: the scanner's settings.
    """
    gap, sag = between(rng, 6.0, 30.0), between(rng, 10.0, 45.0)
    shell, skin_hu = between(rng, 1.5, 3.0), between(rng, -250.0, 250.0)
    foam_hu = between(rng, -960.0, -860.0)
    thick, half = between(rng, 25.0, 60.0), between(rng, 195.0, 225.0)
    rows = np.flatnonzero((hu[::_STRIDE, :, ::_STRIDE] > -500).any(axis=(0, 2)))
    if rows.size == 0 or rows[0] == 0:
        return None
    x = np.arange(settings.shape[0]) * settings.spacing_mm[0] + settings.origin_mm[0]
    y = np.arange(settings.shape[1]) * settings.spacing_mm[1]
    top = float(y[rows[0]]) - gap + sag * (x * x) / (half * half) - sag
    depth = top - y[:, None]
    inside = (depth >= 0) & (depth <= thick) & (np.abs(x) <= half)
    rim = inside & ((depth <= shell) | (depth >= thick - shell) | (np.abs(x) >= half - shell))
    plane = np.where(rim, skin_hu, np.where(inside, foam_hu, _AIR_HU))
    return plane.astype(np.float32) if inside.any() else None
