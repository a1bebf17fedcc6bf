"""Pictures of one series put into a grid, or the reason why they make none."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np

from coronet.cohort.formats.loaded import LPS_TO_RAS
from coronet.cohort.formats.pictures import Picture
from coronet.errors import UnreadableScan

SAME_PLACE_MM = 0.02
UNEVEN = 0.05
"""Fraction of the slice spacing by which a gap may differ; scanners round positions."""
LEAN_DEG = 0.1
SIDEWAYS_MM = 0.3


def sort_places(pictures: Sequence[Picture], where: str) -> list[list[Picture]]:
    """Group pictures by place, from the first along their normal to the last.

    Raises:
        UnreadableScan: they differ in size, spacing or orientation, were taken at several times, or all lie
            at one place.
    """
    _demand_alike(pictures, where)
    ordered = sorted(pictures, key=lambda picture: picture.depth_mm)
    places = [[ordered[0]]]
    for before, picture in itertools.pairwise(ordered):
        if picture.depth_mm - before.depth_mm < SAME_PLACE_MM:
            places[-1].append(picture)
        else:
            places.append([picture])
    times = max(len({picture.acquisition for picture in place}) for place in places)
    if times > 1:
        raise UnreadableScan(
            f"{where}: {times} acquisitions of the same place (a series in time); export one on its own."
        )
    if len(places) < 2:
        raise UnreadableScan(
            f"{where}: a single slice, from which no volume can be read; give the folder with all slices."
        )
    return places


def stack_affine(slices: Sequence[Picture], where: str) -> np.ndarray:
    """Affine of an array (column, row, slice) in RAS+ millimetres.

    The distance between slices comes from their positions; SliceThickness and SpacingBetweenSlices do not
    count, since they often say something else.

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
    _demand_upright(depths, sideways, where)
    gaps = np.diff(depths)
    usual = float(np.median(gaps))
    _demand_even(depths, gaps, usual, where)
    _demand_complete(slices, usual, where)
    step = (depths[-1] - depths[0]) / (len(slices) - 1)
    affine = np.eye(4)
    affine[:3, 0] = first.along_row * first.spacing_mm[0]
    affine[:3, 1] = first.along_column * first.spacing_mm[1]
    affine[:3, 2] = first.normal * step
    affine[:3, 3] = first.position_mm
    return LPS_TO_RAS @ affine


def _demand_alike(pictures: Sequence[Picture], where: str) -> None:
    directions = Counter(
        tuple(np.round([*picture.along_row, *picture.along_column], 2).tolist()) for picture in pictures
    )
    first = pictures[0]
    rows = np.stack([picture.along_row for picture in pictures])
    columns = np.stack([picture.along_column for picture in pictures])
    if max(np.abs(rows - first.along_row).max(), np.abs(columns - first.along_column).max()) > 2e-3:
        counts = " and ".join(str(count) for _, count in directions.most_common())
        raise UnreadableScan(
            f"{where}: its slices look in different directions ({counts} slices); export one direction alone."
        )
    grids = Counter(
        (
            int(picture.dataset.Columns),
            int(picture.dataset.Rows),
            *(round(value, 4) for value in picture.spacing_mm),
        )
        for picture in pictures
    )
    if len(grids) > 1:
        sizes = ", ".join(
            f"{count} of {c} × {r} at {x} × {y} mm" for (c, r, x, y), count in grids.most_common(3)
        )
        raise UnreadableScan(
            f"{where}: its slices differ in size or spacing ({sizes}); export one kind alone."
        )


def _demand_upright(depths: np.ndarray, sideways: np.ndarray, where: str) -> None:
    shift = float(np.linalg.norm(sideways[-1]))
    degrees = float(np.degrees(np.arctan2(shift, depths[-1] - depths[0])))
    if shift > SIDEWAYS_MM and degrees > LEAN_DEG:
        raise UnreadableScan(
            f"{where}: the slices lean by {degrees:.1f} degrees against the table (gantry tilt). "
            "Resample the scan to an upright grid first."
        )
    stray = np.linalg.norm(sideways, axis=1)
    if stray.max() > SIDEWAYS_MM:
        raise UnreadableScan(
            f"{where}: slices are shifted sideways by up to {stray.max():.1f} mm, "
            f"first at {depths[int(np.argmax(stray > SIDEWAYS_MM))]:.1f} mm; they make no single grid."
        )


def _demand_even(depths: np.ndarray, gaps: np.ndarray, usual: float, where: str) -> None:
    odd = np.flatnonzero(np.abs(gaps - usual) > max(UNEVEN * usual, SAME_PLACE_MM))
    if odd.size:
        shown = "; ".join(
            f"{gaps[index]:.2f} mm between {depths[index]:.1f} and {depths[index + 1]:.1f}"
            for index in odd[:3]
        )
        more = f" and {odd.size - 3} more" if odd.size > 3 else ""
        raise UnreadableScan(
            f"{where}: slices are missing or unevenly spaced: {shown}{more}, elsewhere {usual:.2f} mm "
            "(along the slice axis). Export the series whole."
        )


def _demand_complete(slices: Sequence[Picture], usual: float, where: str) -> None:
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
