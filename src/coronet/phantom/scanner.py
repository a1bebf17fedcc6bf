"""The scanner: from tissue and deposits to the HU of a low-dose CT.

Order of events: slice profile, blur in plane, deposits with their partial volume, cupping and
calibration, metal streaks, noise, iterative reconstruction, twelve bits, padding outside the reconstruction
circle. Arrays of a slice are (y, x) inside, so that memory is read in order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from coronet.imaging.filters import gaussian_taps, in_plane, sharpen
from coronet.io.volume import Volume
from coronet.phantom.acquisition_protocols import Kernel, ScanSettings
from coronet.phantom.deposits import Deposit, share_of_voxels
from coronet.phantom.iterative_reconstruction import regularized
from coronet.phantom.noise import ScanNoise
from coronet.phantom.scanner_artifacts import add_stars, draw_table, is_metal

_LOWEST_HU, _HIGHEST_HU = -1024, 3071  # twelve bits with the usual offset
WIDE_BLUR_MM = 0.95  # standard deviation of the blur that an edge-enhancing kernel takes away


@dataclasses.dataclass(frozen=True)
class Trace:
    """The trace of one deposit in a scan."""

    deposit: Deposit
    box: tuple[slice, slice, slice]  # where in the scan
    contribution: np.ndarray  # (x, y, z) HU that the deposit adds there, blurred, without noise
    clean: np.ndarray  # (x, y, z) HU of everything there, blurred, without noise


@dataclasses.dataclass(frozen=True)
class Scanned:
    """A simulated scan."""

    volume: Volume  # HU as int16, padding as stored
    traces: tuple[Trace, ...]  # one for each deposit that lies in the scan


def point_spread(kernel: Kernel, pixel_mm: float) -> tuple[float, ...]:
    """Half taps of the kernel's point spread along one in-plane axis."""
    narrow = gaussian_taps(kernel.blur_mm / pixel_mm)
    if not kernel.sharp:
        return narrow
    return sharpen(narrow, gaussian_taps(WIDE_BLUR_MM / pixel_mm, reach=2.2), kernel.overshoot)


def scan(
    hu: np.ndarray,
    deposits: Sequence[Deposit],
    settings: ScanSettings,
    *,
    heart_box: tuple[slice, slice, slice],
    rng: np.random.Generator,
) -> Scanned:
    """Simulate a scan.

    Args:
        hu: (x, y, z) float32 tissue without blur and noise, on the scan's grid.
        heart_box: where the heart lies; noise is set there.
    """
    taps = point_spread(settings.kernel, settings.spacing_mm[0])
    traces = _traces(hu, deposits, settings, taps)
    metal = [trace.deposit for trace in traces if is_metal(trace.deposit)]
    noise = ScanNoise(rng, hu, settings, heart_box=heart_box)
    cupping = _cupping(settings)
    table = draw_table(rng, hu, settings)
    outside = _outside_circle(settings.shape[:2]) if settings.padding_hu is not None else None
    out = np.empty(settings.shape[::-1], np.int16)
    noise.start()
    for k in range(settings.shape[2]):
        plane = _slab(hu, k, settings.thickness_mm / settings.spacing_mm[2])
        if table is not None:
            np.maximum(plane, table, out=plane)
        plane = in_plane(plane, taps)
        here = [trace for trace in traces if trace.box[2].start <= k < trace.box[2].stop]
        for trace in here:
            plane[trace.box[1], trace.box[0]] += trace.contribution[:, :, k - trace.box[2].start].T
        for trace in here:
            trace.clean[:, :, k - trace.box[2].start] = plane[trace.box[1], trace.box[0]].T
        plane += cupping
        add_stars(plane, metal, settings, k, rng)
        plane += noise.next_slice(k)
        if settings.iterative:
            plane = regularized(plane, settings)
        np.rint(plane, out=plane)
        np.clip(plane, _LOWEST_HU, _HIGHEST_HU, out=plane)
        out[k] = plane
        if outside is not None:
            out[k][outside] = settings.padding_hu
    return Scanned(Volume(out.T, settings.affine), tuple(traces))


def _traces(
    hu: np.ndarray, deposits: Sequence[Deposit], settings: ScanSettings, taps: tuple[float, ...]
) -> list[Trace]:
    traces = []
    for deposit in deposits:
        share = share_of_voxels(
            deposit, settings.affine, hu.shape, thickness_mm=settings.thickness_mm, margin=len(taps)
        )
        if share is not None:
            contribution = in_plane(share.substance - share.filled * hu[share.box], taps)
            traces.append(Trace(deposit, share.box, contribution, np.zeros_like(contribution)))
    return traces


def _slab(hu: np.ndarray, k: int, ratio: float) -> np.ndarray:
    """Slice ``k``, (y, x), for a rectangular slice profile that is ``ratio`` slice spacings wide."""
    plane = np.ascontiguousarray(hu[:, :, k].T)
    side = max(ratio - 1, 0.0) / 2
    if side <= 0:
        return plane
    centre, side = 1 - 2 * side / max(ratio, 1.0), side / max(ratio, 1.0)
    below, above = max(k - 1, 0), min(k + 1, hu.shape[2] - 1)
    both = hu[:, :, below].T + hu[:, :, above].T
    return plane * np.float32(centre) + both * np.float32(side)


def _cupping(settings: ScanSettings) -> np.ndarray:
    """(y, x) HU: darker in the middle than at the rim, plus the calibration's error."""
    columns, rows = settings.shape[:2]
    x = (np.arange(columns) - (columns - 1) / 2) / (columns / 2)
    y = (np.arange(rows) - (rows - 1) / 2) / (rows / 2)
    squares = (y * y)[:, None] + x * x
    bowl = np.minimum(squares, 1.0) * settings.cupping_hu - settings.cupping_hu / 2 + settings.offset_hu
    return bowl.astype(np.float32)


def _outside_circle(shape: tuple[int, int]) -> np.ndarray:
    """(y, x) bool: outside the circle that fits the square."""
    columns, rows = shape
    x = np.arange(columns) * 2 - (columns - 1)
    y = np.arange(rows) * 2 - (rows - 1)
    return (y * y)[:, None] + x * x > min(columns, rows) ** 2
