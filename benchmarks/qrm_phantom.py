"""The calculator on calcium of known size: a digital phantom of the QRM type, and a scan of the real one.

Nine cylinders, as wide as long: 5, 3 and 1 mm, of 200, 400 and 800 mg/cm³ hydroxyapatite; 168.23 mg in all.

    python benchmarks/qrm_phantom.py                       # digital: error against resolution
    python benchmarks/qrm_phantom.py --scan FOLDER --picture docs/pictures/qrm_phantom.png
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
from pathlib import Path

import numpy as np

from coronet.io.reader import read_scan
from coronet.io.volume import Volume, grid_affine
from coronet.scoring.calcium_score import ScoreResult, score_calcium
from coronet.scoring.lesions import Lesion
from coronet.scoring.protocol import PROTOCOLS

SIZES_MM = (5.0, 3.0, 1.0)
DENSITIES = (200.0, 400.0, 800.0)
FACTOR = 0.00075
"""mg/(mm³·HU) of the digital phantom: 200 mg/cm³ are 267 HU, as at 120 kV."""

HEART_MM = 45.0
"""Radius searched around the axis of the real phantom's heart (its wall lies at 54 mm)."""
INSERT_SLICES = (18, 27)
ROD_SLICES = (31, 34)
RODS_MM = 34.0
"""Both calibration rods lie nearer to the axis than this."""
BEST_SLICE = 22
INSERT_MM = 5.0
"""Radius around a found insert that holds all of it, blur included."""
LABELS = {5.0: (-14, 38), 3.0: (0, -30), 1.0: (-10, 9)}
"""Places of the captions along the row whose inserts lie too near for captions above them, in points."""
LEAST_MM3 = 10.0
"""Smaller components of the real scan are noise."""
SPOKES = {0: 800.0, 120: 400.0, 240: 200.0}
"""Direction of the real phantom's three rows of inserts in degrees, and their density."""
PLACES_MM = {5.0: 37.0, 3.0: 25.0, 1.0: 13.0}
"""Distance of the real phantom's inserts from the axis, by size."""


@dataclasses.dataclass(frozen=True)
class Insert:
    """A calcified cylinder along z.

    Attributes:
        size_mm: diameter and length.
        density: of hydroxyapatite in mg/cm³.
        centre_mm: in the digital phantom.
    """

    size_mm: float
    density: float
    centre_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def volume_mm3(self) -> float:
        """True volume."""
        return math.pi / 4 * self.size_mm**3

    @property
    def mass_mg(self) -> float:
        """True mass."""
        return self.volume_mm3 * self.density / 1000


INSERTS = tuple(
    Insert(size, density, (6.3 + 9 * column, 6.2 + 9 * row, 6.1))
    for (row, size), (column, density) in itertools.product(enumerate(SIZES_MM), enumerate(DENSITIES))
)


def digital_phantom(spacing_mm: tuple[float, float, float], *, fine_mm: float = 0.05) -> Volume:
    """The inserts in water (0 HU), each voxel the mean over its inside, without noise or blur.

    Args:
        spacing_mm: of the voxels (x, y, z).
        fine_mm: step at which the inside of a voxel is sampled.

    Returns:
        HU, float32.
    """
    shape = [round(length / step) for length, step in zip((31, 31, 13), spacing_mm, strict=True)]
    array = np.zeros(shape, np.float32)
    parts = [max(1, math.ceil(step / fine_mm)) for step in spacing_mm]
    affine = grid_affine(spacing_mm, tuple(step / 2 for step in spacing_mm))
    for insert in INSERTS:
        box, axes = [], []
        for axis, step in enumerate(spacing_mm):
            half = insert.size_mm / 2
            first = int((insert.centre_mm[axis] - half) / step)
            last = min(shape[axis], int((insert.centre_mm[axis] + half) / step) + 1)
            box.append(slice(first, last))
            samples = (np.arange((last - first) * parts[axis]) + 0.5) / parts[axis]
            axes.append((first + samples) * step - insert.centre_mm[axis])
        x, y, z = axes
        disc = (np.hypot(x[:, None], y[None, :]) <= insert.size_mm / 2).astype(np.float32)
        disc = disc.reshape(-1, parts[0], disc.shape[1] // parts[1], parts[1]).mean(axis=(1, 3))
        line = (np.abs(z) <= insert.size_mm / 2).reshape(-1, parts[2]).mean(axis=1)
        array[tuple(box)] += insert.density / 1000 / FACTOR * disc[:, :, None] * line
    return Volume(array, affine)


def score_digital(spacing_mm: tuple[float, float, float]) -> ScoreResult:
    """All voxels of the digital phantom scored."""
    ct = digital_phantom(spacing_mm)
    return score_calcium(ct, ct.array > 0, calibration_factor=FACTOR)


@dataclasses.dataclass(frozen=True)
class RealScan:
    """What is found in the scan of the real phantom.

    Attributes:
        ct: the scan.
        drawn: bool, discs around the inserts, as a hand draws them with some rim.
        mask: bool, what of them has 130 HU or more.
        axis: centre of the heart in the slice, voxels (x, y).
        factor: calibration, mg/(mm³·HU), from the two rods.
        background: mean and standard deviation of the heart's material in HU.
        result: score of ``mask``.
        found: each insert with its lesion, or None where it is lost in the noise.
    """

    ct: Volume
    drawn: np.ndarray
    mask: np.ndarray
    axis: tuple[float, float]
    factor: float
    background: tuple[float, float]
    result: ScoreResult
    found: tuple[tuple[Insert, Lesion | None], ...]


def score_real(folder: Path) -> RealScan:
    """Find the inserts of the real phantom without being told where they are, and score them."""
    from scipy import ndimage

    ct = read_scan(folder).volume
    step = ct.spacing_mm[0]
    depth = ndimage.distance_transform_edt(ct.array[:, :, BEST_SLICE] > -200)
    axis = np.unravel_index(depth.argmax(), depth.shape)
    x, y = np.meshgrid(*(np.arange(size) for size in ct.shape[:2]), indexing="ij")
    radius = np.hypot(x - axis[0], y - axis[1]) * step
    heart = radius < HEART_MM
    quiet = ct.array[:, :, 15:18][heart].astype(np.float64)
    factor = _calibrate(ct, x, y, radius)
    candidates = np.zeros(ct.shape, bool)
    candidates[:, :, slice(*INSERT_SLICES)] = heart[:, :, None]
    everything = score_calcium(ct, candidates, calibration_factor=factor)
    inserts = [lesion for lesion in everything.lesions if lesion.volume_mm3 >= LEAST_MM3]
    drawn = np.zeros(ct.shape, bool)
    for lesion in inserts:
        near = np.hypot(x - lesion.centre_voxel[0], y - lesion.centre_voxel[1]) * step < INSERT_MM
        drawn[:, :, lesion.slices[0] : lesion.slices[1] + 1] |= near[:, :, None]
    mask = drawn & (ct.array >= 130)
    result = score_calcium(ct, mask, calibration_factor=factor)
    return RealScan(
        ct=ct,
        drawn=drawn,
        mask=mask,
        axis=(float(axis[0]), float(axis[1])),
        factor=factor,
        background=(float(quiet.mean()), float(quiet.std())),
        result=result,
        found=_name(result, axis, step),
    )


def insert_scores(real: RealScan) -> dict[tuple[float, float], float]:
    """Agatston score of each insert by itself, by size in mm and density in mg/cm³.

    Each is scored in a disc around it; one that is lost in the noise, in a disc on the line from the axis to
    the insert of 3 mm and the same density.
    """
    x, y = np.meshgrid(*(np.arange(size) for size in real.ct.shape[:2]), indexing="ij")
    step = real.ct.spacing_mm[0]
    lesions = {(insert.size_mm, insert.density): lesion for insert, lesion in real.found}
    scores = {}
    for (size, density), lesion in lesions.items():
        guide, share = lesion or lesions[3.0, density], 1.0 if lesion else PLACES_MM[size] / PLACES_MM[3.0]
        centre = [at + share * (own - at) for at, own in zip(real.axis, guide.centre_voxel, strict=False)]
        disc = np.zeros(real.ct.shape, bool)
        near = np.hypot(x - centre[0], y - centre[1]) * step < INSERT_MM
        disc[:, :, slice(*INSERT_SLICES)] = near[:, :, None]
        scores[size, density] = score_calcium(real.ct, disc).scores.agatston
    return scores


def _calibrate(ct: Volume, x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> float:
    """Density of the bright rod over its HU above the water rod's; the rods lie below the inserts."""
    from scipy import ndimage

    slab = ct.array[:, :, slice(*ROD_SLICES)].mean(axis=2)
    smooth = np.where(radius < RODS_MM, ndimage.uniform_filter(slab, 15), np.nan)
    levels = []
    for at in (np.nanargmax(smooth), np.nanargmin(smooth)):
        centre = np.unravel_index(at, smooth.shape)
        levels.append(slab[np.hypot(x - centre[0], y - centre[1]) < 8].mean())
    return 0.2 / float(levels[0] - levels[1])


def _name(
    result: ScoreResult, axis: tuple[int, int], step: float
) -> tuple[tuple[Insert, Lesion | None], ...]:
    """Tell the inserts apart by place: three rows at 120°, the largest outside."""
    places = {}
    for lesion in result.lesions:
        if lesion.volume_mm3 < LEAST_MM3:
            continue
        across, up = (lesion.centre_voxel[0] - axis[0]) * step, (lesion.centre_voxel[1] - axis[1]) * step
        angle = math.degrees(math.atan2(up, across)) % 360
        spoke = min(SPOKES, key=lambda at: abs((angle - at + 180) % 360 - 180))
        size = min(PLACES_MM, key=lambda size: abs(PLACES_MM[size] - math.hypot(across, up)))
        places[size, SPOKES[spoke]] = lesion
    return tuple((insert, places.get((insert.size_mm, insert.density))) for insert in INSERTS)


def draw(real: RealScan, path: Path) -> None:
    """Write the slice with the inserts, the found ones outlined, beside the rods' slice."""
    from matplotlib.figure import Figure

    left, low = (int(value) - 110 for value in real.axis)
    figure = Figure(figsize=(10, 5.2), layout="constrained")
    for axes, z, title in zip(
        figure.subplots(1, 2),
        (BEST_SLICE, 32),
        ("inserts and what was found", "calibration rods"),
        strict=True,
    ):
        part = (slice(left, left + 220), slice(low, low + 220), z)
        axes.imshow(real.ct.array[part].T, cmap="gray", vmin=-100, vmax=500, origin="lower")
        if real.mask[part].any():
            axes.contour(real.mask[part].T, levels=[0.5], colors="#e03131", linewidths=0.8)
        axes.set_title(f"slice {z}: {title}", fontsize=10)
        axes.set_axis_off()
        if z != BEST_SLICE:
            continue
        for insert, lesion in real.found:
            if lesion is not None:
                x, y = lesion.centre_voxel[0] - left, lesion.centre_voxel[1] - low
                text = (
                    f"{insert.size_mm:g} mm, {insert.density:g} mg/cm³\n"
                    f"Agatston {lesion.agatston:.0f}, {lesion.mass_mg:.1f} mg"
                )
                row = LABELS[insert.size_mm] if insert.density == 800 else (0, 9)
                axes.annotate(
                    text, (x, y), row, textcoords="offset points", color="#ffd43b", fontsize=7, ha="center"
                )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90, metadata={"Software": None})


def main() -> None:
    """Print the tables of docs/qrm-phantom.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--scan", type=Path, help="DICOM folder of the real phantom")
    parser.add_argument("--picture", type=Path)
    chosen = parser.parse_args()
    if chosen.scan is None:
        _print_digital()
        return
    real = score_real(chosen.scan)
    print(
        f"background {real.background[0]:.0f} ± {real.background[1]:.0f} HU, "
        f"calibration factor {real.factor:.6f} mg/(mm³·HU)\n"
    )
    print("| insert | highest HU | volume, mm³ (true) | mass, mg (true) | Agatston |\n|---|---|---|---|---|")
    for insert, lesion in real.found:
        name = f"{insert.size_mm:g} mm, {insert.density:g} mg/cm³"
        if lesion is None:
            print(f"| {name} | – | lost in noise ({insert.volume_mm3:.1f}) | – ({insert.mass_mg:.2f}) | – |")
        else:
            print(
                f"| {name} | {lesion.peak_hu:.0f} | {lesion.volume_mm3:.1f} ({insert.volume_mm3:.1f}) "
                f"| {lesion.mass_mg:.2f} ({insert.mass_mg:.2f}) | {lesion.agatston:.1f} |"
            )
    scores = real.result.scores
    print(f"| all | | {scores.volume_mm3:.1f} | {scores.mass_mg:.1f} (168.23) | {scores.agatston:.1f} |")
    print("\n| protocol | mask of 130 HU and more | drawn with a rim |\n|---|---|---|")
    for name, protocol in PROTOCOLS.items():
        both = [
            score_calcium(real.ct, mask, protocol=protocol, slice_thickness_mm=real.ct.spacing_mm[2])
            for mask in (real.mask, real.drawn)
        ]
        print(f"| {name} | {both[0].scores.agatston:.1f} | {both[1].scores.agatston:.1f} |")
    if chosen.picture:
        draw(real, chosen.picture)


def _print_digital() -> None:
    print("| voxel, mm | volume, mm³ (true 360.5) | mass, mg (true 168.23) | Agatston |\n|---|---|---|---|")
    for spacing in (
        (0.1, 0.1, 0.1),
        (0.2, 0.2, 0.2),
        (0.35, 0.35, 0.5),
        (0.5, 0.5, 1.0),
        (0.5, 0.5, 3.0),
        (0.7, 0.7, 2.5),
        (0.98, 0.98, 3.0),
    ):
        scores = score_digital(spacing).scores
        name = " × ".join(f"{step:g}" for step in spacing)
        print(f"| {name} | {scores.volume_mm3:.1f} | {scores.mass_mg:.2f} | {scores.agatston:.1f} |")


if __name__ == "__main__":
    main()
