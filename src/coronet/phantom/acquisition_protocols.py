"""How a scanner was set: kernel, slices, field of view, dose."""

from __future__ import annotations

import dataclasses

import numpy as np

from coronet.io.volume import grid_affine
from coronet.phantom.random_draws import bell, between, chance, pick


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A reconstruction kernel, reduced to what it does to edges and to noise."""

    name: str
    blur_mm: float  # standard deviation of its point spread in plane
    overshoot: float  # strength of the edge enhancement; 0 for soft kernels
    grain_mm: float  # standard deviation of the finest structure of its noise
    gain: float  # noise relative to a soft kernel of the same dose

    @property
    def sharp(self) -> bool:
        """Whether it enhances edges."""
        return self.overshoot > 0


SCANNER_KERNELS = {
    kernel.name: kernel
    for kernel in (
        Kernel("STANDARD", 0.56, 0.0, 0.44, 1.0),
        Kernel("B30f", 0.60, 0.0, 0.47, 0.95),
        Kernel("B20f", 0.68, 0.0, 0.54, 0.8),
        Kernel("C", 0.58, 0.0, 0.46, 1.0),
        Kernel("FC10", 0.62, 0.0, 0.48, 0.95),
        Kernel("B50f", 0.46, 0.25, 0.32, 1.6),
        Kernel("D", 0.44, 0.30, 0.31, 1.7),
        Kernel("FC51", 0.42, 0.40, 0.29, 1.9),
        Kernel("LUNG", 0.40, 0.55, 0.27, 2.2),
    )
}

SERIES = (
    # kernel, slice thickness mm, slice spacing mm, weight
    ("STANDARD", 2.5, 2.5, 18),
    ("STANDARD", 2.5, 2.0, 6),
    ("STANDARD", 1.25, 1.25, 4),
    ("STANDARD", 3.27, 3.27, 6),
    ("B30f", 2.0, 2.0, 10),
    ("B30f", 2.0, 1.8, 5),
    ("B30f", 3.0, 3.0, 6),
    ("B30f", 1.0, 1.0, 2),
    ("B20f", 3.0, 2.0, 5),
    ("C", 3.2, 3.2, 5),
    ("C", 2.0, 2.0, 5),
    ("FC10", 3.0, 2.5, 6),
    ("FC10", 2.0, 2.0, 4),
    ("B50f", 2.0, 2.0, 7),
    ("B50f", 1.5, 1.5, 2),
    ("D", 3.2, 2.4, 3),
    ("FC51", 2.0, 2.0, 3),
    ("LUNG", 2.5, 2.5, 6),
)
"""Series as screening programmes reconstruct them; most have soft kernels and slices of 2 to 3 mm."""

_REFERENCE_THICKNESS_MM = 2.25
_LEAST_NOISE_HU = 14.0


@dataclasses.dataclass(frozen=True)
class ScanSettings:
    """One scan's settings."""

    kernel: Kernel
    thickness_mm: float
    spacing_mm: tuple[float, float, float]  # voxel spacing (x, y, z)
    shape: tuple[int, int, int]  # voxels (x, y, z)
    origin_mm: tuple[float, float, float]  # centre of the first voxel, RAS+
    noise_hu: float  # standard deviation of the noise at the heart
    modulation: float  # 0 for a fixed tube current, 1 for one that evens out all noise
    # value outside the reconstruction circle, or None where the whole square is reconstructed
    padding_hu: int | None
    offset_hu: float  # error of the scanner's calibration
    cupping_hu: float  # how much darker the centre is than the rim
    beat: float  # strength of the heart's motion, 0..1.5

    @property
    def affine(self) -> np.ndarray:
        """4 × 4, voxel index to mm, RAS+."""
        return grid_affine(self.spacing_mm, self.origin_mm)


def draw_settings(
    rng: np.random.Generator,
    *,
    z_range_mm: tuple[float, float],
    matrix: int = 512,
    field_mm: float | None = None,
) -> ScanSettings:
    """Draw the settings of one low-dose screening scan.

    Args:
        z_range_mm: lowest and highest slice.
    """
    name, thickness, gap, _ = pick(rng, SERIES, [row[3] for row in SERIES])
    kernel = SCANNER_KERNELS[name]
    field = bell(rng, 350.0, 38.0, 262.0, 470.0) if chance(rng, 0.75) else between(rng, 390.0, 500.0)
    padding = pick(rng, (None, -1024, -2048, -3024), (0.45, 0.15, 0.15, 0.25))
    shift = (between(rng, -14.0, 14.0), between(rng, -16.0, 10.0))
    dose = bell(rng, 23.5, 5.0, 15.0, 36.0) * float(np.sqrt(_REFERENCE_THICKNESS_MM / thickness))
    modulation = between(rng, 0.35, 0.75)
    extras = between(rng, -4.0, 4.0), between(rng, 0.0, 8.0), between(rng, 0.0, 1.2)
    step = round((field_mm or field) / matrix, 6)
    slices = int((z_range_mm[1] - z_range_mm[0]) // gap) + 1
    left, back = (round(side - step * (matrix - 1) / 2, 3) for side in shift)
    return ScanSettings(
        kernel=kernel,
        thickness_mm=thickness,
        spacing_mm=(step, step, gap),
        shape=(matrix, matrix, slices),
        origin_mm=(left, back, round(z_range_mm[0], 3)),
        noise_hu=round(max(dose * kernel.gain, _LEAST_NOISE_HU), 3),
        modulation=round(modulation, 4),
        padding_hu=padding,
        offset_hu=round(extras[0], 3),
        cupping_hu=round(extras[1], 3),
        beat=round(extras[2], 4),
    )
