"""Names of slices in pictures, tables and messages: counted from 1, from the feet, with height in mm."""

from __future__ import annotations

from coronet.io.volume import Volume


def slice_height_mm(volume: Volume, index: int) -> float:
    """Height z of the middle of axial slice ``index`` (from 0) in the scan's RAS+ world."""
    x, y = ((size - 1) / 2 for size in volume.shape[:2])
    return round(float((volume.affine @ [x, y, index, 1])[2]), 1) + 0.0


def slice_name(volume: Volume, index: int) -> str:
    """Such as "slice 26 of 120 (z = -211.5 mm)"; ``index`` counts from 0, as arrays do."""
    return f"slice {index + 1} of {volume.shape[2]} (z = {slice_height_mm(volume, index):g} mm)"


def slice_span(first: int, last: int) -> str:
    """Such as "26-28" of slices whose indices count from 0."""
    return str(first + 1) if first == last else f"{first + 1}-{last + 1}"
