"""Whether a mask has a shape that a heart can have, whatever its size."""

from __future__ import annotations

import dataclasses

import numpy as np

_FACE_SHARE = 1.5
"""Faces of voxels have so many times the area of the smooth surface that they stand for, in the mean."""
_LEAST_CONVEXITY = (0.5, 0.65)
_LEAST_COMPACTNESS = (0.2, 0.45)
"""Of a reader's mask, and of a network's, which holds no vessels.

Hearts by readers have 0.86 and 0.73 or more, with stumps of all great vessels 0.63 and 0.28; those of
networks 0.75 and 0.59 or more, also on wild phantoms.
"""
_MOST_ELONGATION = 2.5  # 2.1 and less in all of them


@dataclasses.dataclass(frozen=True)
class HeartShape:
    """Figures of a mask that do not depend on its size.

    Attributes:
        convexity: share of its convex hull that it fills; 1 for an ellipsoid.
        compactness: 36π·volume² / surface³; 1 for a ball.
        elongation: standard deviation along its longest axis over that along its shortest.
    """

    convexity: float
    compactness: float
    elongation: float


def measure_shape(mask: np.ndarray, spacing_mm: tuple[float, float, float]) -> HeartShape:
    """Measure a mask.

    Args:
        mask: boolean, shape (x, y, z), not empty, on a grid of about 4 mm; holes inside count as filled.
        spacing_mm: along (x, y, z).
    """
    from scipy.ndimage import binary_erosion, binary_fill_holes
    from scipy.spatial import ConvexHull

    solid = np.pad(binary_fill_holes(mask), 1)
    spacing = np.asarray(spacing_mm)
    volume = np.count_nonzero(solid) * spacing.prod()
    surface = sum(
        np.count_nonzero(np.diff(solid, axis=axis)) * spacing.prod() / spacing[axis] for axis in range(3)
    )
    rim = np.argwhere(solid & ~binary_erosion(solid))
    corners = (rim[:, None] + np.indices((2, 2, 2)).reshape(3, 8).T).reshape(-1, 3)
    hull = ConvexHull(np.unique(corners, axis=0) * spacing)
    spread = np.linalg.eigvalsh(np.cov((np.argwhere(solid) * spacing).T, bias=True))
    # a voxel's own extent, so that a single plane is not infinitely thin
    longest, shortest = (np.sqrt(value + spacing.min() ** 2 / 12) for value in (spread[2], spread[0]))
    return HeartShape(
        convexity=float(volume / hull.volume),
        compactness=float(36 * np.pi * volume**2 / (surface / _FACE_SHARE) ** 3),
        elongation=float(longest / shortest),
    )


def shape_fault(mask: np.ndarray, spacing_mm: tuple[float, float, float], *, predicted: bool) -> str:
    """Why no heart has this shape, in words; empty where one may.

    Args:
        mask: see `measure_shape`.
        spacing_mm: along (x, y, z).
        predicted: whether a network drew the mask.
    """
    shape = measure_shape(mask, spacing_mm)
    if shape.convexity < (least := _LEAST_CONVEXITY[predicted]):
        share = f"{shape.convexity:.0%} of its convex hull"
        return f"the heart mask fills {share}; at least {least:.0%} are plausible"
    if shape.compactness < (least := _LEAST_COMPACTNESS[predicted]):
        return (
            f"the heart mask is ragged: its compactness is {shape.compactness:.2f}; at least {least:g} is "
            "plausible"
        )
    if shape.elongation > _MOST_ELONGATION:
        return (
            f"the heart mask is {shape.elongation:.1f} times as long as thick; at most {_MOST_ELONGATION:g} "
            "times are plausible"
        )
    return ""
