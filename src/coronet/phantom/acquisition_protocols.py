"""How a scanner was set: kernel, slices, field of view, dose."""

from __future__ import annotations

import dataclasses
import math

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
        Kernel("B70f", 0.37, 0.70, 0.25, 2.5),
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

_WILD_SERIES = (
    *SERIES,
    ("STANDARD", 3.75, 3.75, 8),
    ("STANDARD", 5.0, 5.0, 14),
    ("B30f", 5.0, 5.0, 10),
    ("B30f", 5.0, 3.0, 5),
    ("C", 4.0, 4.0, 6),
    ("FC10", 5.0, 5.0, 6),
    ("B30f", 1.0, 1.0, 2),
    ("LUNG", 1.25, 1.25, 3),
    ("LUNG", 5.0, 5.0, 5),
    ("B50f", 5.0, 5.0, 4),
    ("FC51", 1.0, 1.0, 2),
    ("B70f", 1.5, 1.5, 3),
    ("B70f", 3.0, 3.0, 5),
    ("B70f", 5.0, 5.0, 3),
)

_REFERENCE_THICKNESS_MM = 2.25


@dataclasses.dataclass(frozen=True)
class ProtocolRanges:
    """What the settings of a cohort's scanners are drawn from."""

    series: tuple[tuple[str, float, float, float], ...]  # as `SERIES`
    # fields of view in mm: mean, standard deviation, lowest, highest of the usual ones, and others' ends
    usual_field_mm: tuple[float, float, float, float]
    other_field_mm: tuple[float, float]
    usual: float  # share of the usual ones
    dose_hu: tuple[float, float, float, float]  # noise of a soft kernel at 2.25 mm: as ``usual_field_mm``
    noise_hu: tuple[float, float]  # least and most noise of any series
    modulation: tuple[float, float]
    offset_hu: float  # error of the calibration to either side
    cupping_hu: float  # most of it
    beat: float  # strongest motion of the heart
    padding: tuple[float, float, float, float]  # weights of None, -1024, -2048 and -3024
    iterative: float = 0.0  # share of the scans with an iterative reconstruction
    centred_below_mm: float = 0.0  # smaller fields of view lie around the heart
    bow: float = 0.0  # see `coronet.phantom.lesions.in_motion`


REALISTIC_PROTOCOLS = ProtocolRanges(
    series=SERIES,
    usual_field_mm=(350.0, 38.0, 262.0, 470.0),
    other_field_mm=(390.0, 500.0),
    usual=0.75,
    dose_hu=(23.5, 5.0, 15.0, 36.0),
    noise_hu=(14.0, math.inf),
    modulation=(0.35, 0.75),
    offset_hu=4.0,
    cupping_hu=8.0,
    beat=1.2,
    padding=(0.45, 0.15, 0.15, 0.25),
)
"""As in screening programmes."""

WILD_PROTOCOLS = ProtocolRanges(
    series=_WILD_SERIES,
    usual_field_mm=(280.0, 45.0, 200.0, 380.0),
    other_field_mm=(300.0, 500.0),
    usual=0.5,
    dose_hu=(26.0, 12.0, 7.0, 65.0),
    noise_hu=(7.0, 110.0),
    modulation=(0.0, 0.9),
    offset_hu=12.0,
    cupping_hu=20.0,
    beat=2.6,
    padding=(0.3, 0.15, 0.15, 0.4),
    iterative=0.4,
    centred_below_mm=320.0,
    bow=0.9,
)
"""Diagnostic, cardiac and radiotherapy scans too, and what goes wrong with scans."""


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
    beat: float  # strength of the heart's motion; 1 moves vessels by their ``motion_mm``
    iterative: float = 0.0  # strength of an iterative reconstruction, 0..1

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
    ranges: ProtocolRanges = REALISTIC_PROTOCOLS,
    heart_mm: tuple[float, float] = (0.0, 0.0),
) -> ScanSettings:
    """Draw the settings of one scan.

    Args:
        z_range_mm: lowest and highest slice.
        matrix: voxels along x and y.
        field_mm: field of view; drawn where None.
        heart_mm: middle (x, y) of the heart, around which small fields of view lie.
    """
    name, thickness, gap, _ = pick(rng, ranges.series, [row[3] for row in ranges.series])
    kernel = SCANNER_KERNELS[name]
    usual = chance(rng, ranges.usual)
    field = bell(rng, *ranges.usual_field_mm) if usual else between(rng, *ranges.other_field_mm)
    padding = pick(rng, (None, -1024, -2048, -3024), ranges.padding)
    shift = (between(rng, -14.0, 14.0), between(rng, -16.0, 10.0))
    dose = bell(rng, *ranges.dose_hu) * float(np.sqrt(_REFERENCE_THICKNESS_MM / thickness))
    modulation = between(rng, *ranges.modulation)
    extras = (
        between(rng, -ranges.offset_hu, ranges.offset_hu),
        between(rng, 0.0, ranges.cupping_hu),
        between(rng, 0.0, ranges.beat),
    )
    iterative = 0.0
    if ranges.iterative:
        strength = between(rng, 0.3, 1.0)
        iterative = round(strength, 4) if chance(rng, ranges.iterative) else 0.0
    field = field_mm or field
    if field < ranges.centred_below_mm:
        shift = (heart_mm[0] + 0.6 * shift[0], heart_mm[1] + 0.6 * shift[1])
    step = round(field / matrix, 6)
    slices = int((z_range_mm[1] - z_range_mm[0]) // gap) + 1
    left, back = (round(side - step * (matrix - 1) / 2, 3) for side in shift)
    return ScanSettings(
        kernel=kernel,
        thickness_mm=thickness,
        spacing_mm=(step, step, gap),
        shape=(matrix, matrix, slices),
        origin_mm=(left, back, round(z_range_mm[0], 3)),
        noise_hu=round(min(max(dose * kernel.gain, ranges.noise_hu[0]), ranges.noise_hu[1]), 3),
        modulation=round(modulation, 4),
        padding_hu=padding,
        offset_hu=round(extras[0], 3),
        cupping_hu=round(extras[1], 3),
        beat=round(extras[2], 4),
        iterative=iterative,
    )
