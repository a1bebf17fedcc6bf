"""Pictures of one series put into a grid, or the reason why they make none."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np

from coronet.errors import UnreadableScan
from coronet.io.dicom.headers import SliceHeader
from coronet.io.raw_volume import LPS_TO_RAS
from coronet.text import first_few

_SAME_PLACE_MM = 0.02
_UNEVEN = 0.05  # fraction of the slice spacing by which a gap may differ; scanners round positions
_ROUNDED = 0.01
"""Fraction of the slice spacing from which gaps that differ are looked at as rounded positions."""
_SAME_SPACING = (1e-4, 1e-3)
"""Fractions of the pixel spacing by which slices may differ: always, and at most where digits are rounded."""
_LEAN_DEG = 0.1
_SIDEWAYS_MM = 0.3


def sort_places(pictures: Sequence[SliceHeader], where: str) -> list[list[SliceHeader]]:
    """Group pictures by place, from the first along their normal to the last.

    Raises:
        UnreadableScan: they differ in size, spacing or orientation, were taken at several times, or all lie
            at one place.
    """
    _require_alike(pictures, where)
    ordered = sorted(pictures, key=lambda picture: picture.depth_mm)
    places = [[ordered[0]]]
    for before, picture in itertools.pairwise(ordered):
        if picture.depth_mm - before.depth_mm < _SAME_PLACE_MM:
            places[-1].append(picture)
        else:
            places.append([picture])
    times = max(len({picture.acquisition for picture in place}) for place in places)
    if times > 1:
        raise UnreadableScan(
            f"{where}: {times} acquisitions of the same place (a series in time); export one on its own."
        )
    _require_apart([place[0].acquisition for place in places], where)
    if len(places) < 2:
        raise UnreadableScan(
            f"{where}: a single slice, from which no volume can be read; give the folder with all slices."
        )
    return places


def _require_apart(acquisitions: Sequence[tuple[str, str]], where: str) -> None:
    """Refuse two acquisitions whose slices lie between each other, as of two breaths or two phases."""
    # A scan that was made in steps has acquisitions one behind the other.
    counts = Counter(acquisitions)
    changes = sum(before != after for before, after in itertools.pairwise(acquisitions))
    if 1 < len(counts) <= len(acquisitions) / 3 and changes >= len(acquisitions) / 2:
        raise UnreadableScan(
            f"{where}: its slices are of {len(counts)} acquisitions (AcquisitionNumber) that lie between "
            "each other; export one on its own."
        )


def stack_affine(slices: Sequence[SliceHeader], where: str) -> np.ndarray:
    """Affine of an array (column, row, slice) in RAS+ millimetres.

    The distance between slices comes from their positions; SliceThickness and SpacingBetweenSlices do not
    count, since they often say something else. Only where positions are rounded so that they make uneven
    steps, one of the two is taken if it explains every position.

    Args:
        slices: one per place, sorted along the normal.
        where: the scan to name in an error.

    Raises:
        UnreadableScan: the slices lean (gantry tilt), are shifted sideways, or have uneven gaps.
    """
    first = slices[0]
    positions = np.stack([picture.position_mm for picture in slices])
    depths = positions @ first.normal
    sideways = positions - positions[0] - np.outer(depths - depths[0], first.normal)
    _require_upright(depths, sideways, where)
    gaps = np.diff(depths)
    usual = float(np.median(gaps))
    step = _rounded_step(slices, depths)
    if step is None:
        _require_even(depths, gaps, usual, where)
        step = (depths[-1] - depths[0]) / (len(slices) - 1)
    _require_complete(slices, usual, where)
    spacing = _common_spacing(slices)
    affine = np.eye(4)
    affine[:3, 0] = first.along_row * spacing[0]
    affine[:3, 1] = first.along_column * spacing[1]
    affine[:3, 2] = first.normal * step
    affine[:3, 3] = first.position_mm
    return LPS_TO_RAS @ affine


def _rounded_step(slices: Sequence[SliceHeader], depths: np.ndarray) -> float | None:
    """Distance between slices in even steps whose positions are rounded; None where that explains nothing."""
    from scipy.optimize import minimize_scalar

    gaps = np.diff(depths)
    usual = float(np.median(gaps))
    digits = np.min([picture.position_digits_mm for picture in slices], axis=0)
    digit = float(np.abs(slices[0].normal) @ digits)
    # With coarser digits a missing slice could pass for rounding.
    if not 0 < digit <= usual / 2 or np.ptp(gaps) <= _ROUNDED * usual:
        return None
    index = np.arange(len(depths))
    mean = float(depths[-1] - depths[0]) / index[-1]

    def width(step: float) -> float:
        """Width of the band around even steps that holds all positions; one digit where they are rounded."""
        return float(np.ptp(depths - step * index))

    widest = digit * (1 + 1e-3)
    bounds = (mean - 2 * digit / index[-1], mean + 2 * digit / index[-1])
    fitted = float(minimize_scalar(width, bounds=bounds, method="bounded", options={"xatol": 1e-9}).x)
    # Where exact ties were rounded both ways, the nominal step alone holds all positions.
    return next((step for step in (*slices[0].nominal_steps_mm, fitted) if width(step) <= widest), None)


def _common_spacing(pictures: Sequence[SliceHeader]) -> tuple[float, float]:
    """The pixel spacing that is written with most digits, or where several are, the commonest."""
    counts = Counter((picture.spacing_mm, picture.spacing_digits_mm) for picture in pictures)
    (spacing, _), _ = min(counts.items(), key=lambda item: (sum(item[0][1]), -item[1]))
    return spacing


def _same_spacing(picture: SliceHeader, spacing: tuple[float, float], digits: tuple[float, ...]) -> bool:
    """Whether the spacing of a picture is ``spacing`` but for the rounding of both."""
    always, rounded = _SAME_SPACING
    return all(
        abs(own - common) <= max(always * common, min((own_digit + digit) / 2 * (1 + 1e-6), rounded * common))
        for own, common, own_digit, digit in zip(
            picture.spacing_mm, spacing, picture.spacing_digits_mm, digits, strict=True
        )
    )


def _require_alike(pictures: Sequence[SliceHeader], where: str) -> None:
    axes = np.array([[*picture.along_row, *picture.along_column] for picture in pictures])
    if np.abs(axes - axes[0]).max() > 2e-3:
        directions = Counter(tuple(row) for row in np.round(axes, 2).tolist())
        counts = " and ".join(str(count) for _, count in directions.most_common())
        raise UnreadableScan(
            f"{where}: its slices look in different directions ({counts} slices); export one direction alone."
        )
    unstated = sum(not picture.rescaled for picture in pictures)
    if 0 < unstated < len(pictures):
        raise UnreadableScan(
            f"{where}: {unstated} of {len(pictures)} slices have no RescaleIntercept (0028,1052), so their "
            "HU are unknown; export the series again."
        )
    spacing = _common_spacing(pictures)
    digits = next(picture.spacing_digits_mm for picture in pictures if picture.spacing_mm == spacing)
    grids = Counter(
        (
            int(picture.dataset.Columns),
            int(picture.dataset.Rows),
            *(spacing if _same_spacing(picture, spacing, digits) else picture.spacing_mm),
        )
        for picture in pictures
    )
    if len(grids) > 1:
        sizes = ", ".join(
            f"{count} of {c} × {r} at {x:.4f} × {y:.4f} mm" for (c, r, x, y), count in grids.most_common(3)
        )
        raise UnreadableScan(
            f"{where}: its slices differ in size or spacing ({sizes}); export one kind alone."
        )


def _require_upright(depths: np.ndarray, sideways: np.ndarray, where: str) -> None:
    shift = float(np.linalg.norm(sideways[-1]))
    degrees = float(np.degrees(np.arctan2(shift, depths[-1] - depths[0])))
    if shift > _SIDEWAYS_MM and degrees > _LEAN_DEG:
        raise UnreadableScan(
            f"{where}: the slices lean by {degrees:.1f} degrees against the table (gantry tilt). "
            "Resample the scan to an upright grid first."
        )
    stray = np.linalg.norm(sideways, axis=1)
    if stray.max() > _SIDEWAYS_MM:
        raise UnreadableScan(
            f"{where}: slices are shifted sideways by up to {stray.max():.1f} mm, "
            f"first at {depths[int(np.argmax(stray > _SIDEWAYS_MM))]:.1f} mm; they make no single grid."
        )


def _require_even(depths: np.ndarray, gaps: np.ndarray, usual: float, where: str) -> None:
    odd = np.flatnonzero(np.abs(gaps - usual) > max(_UNEVEN * usual, _SAME_PLACE_MM))
    if odd.size:
        places = [
            f"{gaps[index]:.2f} mm between {depths[index]:.1f} and {depths[index + 1]:.1f}" for index in odd
        ]
        raise UnreadableScan(
            f"{where}: slices are missing or unevenly spaced: {first_few(places, 3, separator='; ')}, "
            f"elsewhere {usual:.2f} mm (along the slice axis). Export the series whole."
        )


def _require_complete(slices: Sequence[SliceHeader], usual: float, where: str) -> None:
    """Every second or tenth slice alone is evenly spaced too; the numbering and the thickness tell."""
    thickness = slices[0].thickness_mm
    numbers = [picture.dataset.get("InstanceNumber") for picture in slices]
    if thickness is None or usual < 1.5 * thickness or any(number is None for number in numbers):
        return
    steps = set(np.abs(np.diff([int(number) for number in numbers])).tolist())
    if len(steps) == 1 and (step := steps.pop()) > 1:
        raise UnreadableScan(
            f"{where}: only every {step}th slice is there ({usual:.1f} mm apart, {thickness:g} mm thick). "
            "Export the series whole."
        )
