"""What iterative reconstructions do to a slice: noise is smoothed away, edges that stand out of it stay."""

from __future__ import annotations

import numpy as np

from coronet.imaging.filters import gaussian_taps, in_plane
from coronet.phantom.acquisition_protocols import ScanSettings

_SMOOTH_MM = 0.9  # standard deviation of the blur that a pixel is drawn towards
_ROUNDS = 2
_EDGE = 1.2  # differences beyond this many standard deviations of the noise are edges


def regularized(plane: np.ndarray, settings: ScanSettings) -> np.ndarray:
    """Draw each pixel of a noisy slice, (y, x) float32, towards its surroundings, but never far.

    The step is limited, as Huber's penalty limits the pull of an edge, so that contrasts above the noise
    stay; ``settings.iterative`` is its strength.
    """
    taps = gaussian_taps(_SMOOTH_MM / settings.spacing_mm[0], reach=2.0)
    limit = np.float32(_EDGE * settings.noise_hu)
    for _ in range(_ROUNDS):
        step = in_plane(plane, taps)
        step -= plane
        np.minimum(np.maximum(step, -limit), limit, out=step)
        step *= np.float32(settings.iterative)
        plane = plane + step
    return plane
