"""Pictures of a scan in radiological orientation, with outlines drawn over them.

Axial slices are viewed from the feet and coronal projections from the front, so the patient's right is on
the picture's left; sagittal projections are viewed from the patient's left, so the front is on the picture's
left. The head is up. Pictures are measured in millimetres, whatever the voxels are: the grey image is
resampled to square pixels, and outlines are vectors over it.
"""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Mapping, Sequence

import numpy as np

from coronet.imaging.resampling import IndexBox, mask_slices
from coronet.imaging.slice_names import slice_name
from coronet.io.volume import Volume, triple

_MEDIASTINUM = (-160.0, 240.0)  # window 400, level 40, in HU
_PROJECTION = (-100.0, 700.0)  # a wider window, so that calcium in a maximum projection is not lost in bone
_PIXEL_MM = 0.55


@dataclasses.dataclass(frozen=True)
class Outline:
    """One closed region of one kind, such as ``heart``; ``path`` is SVG path data in mm of its picture."""

    kind: str
    path: str


@dataclasses.dataclass(frozen=True)
class Mark:
    """A short text at a place in a picture, in mm from its upper left corner."""

    text: str
    x_mm: float
    y_mm: float


@dataclasses.dataclass(frozen=True)
class Picture:
    """A grey image and what is drawn over it."""

    title: str  # such as ``axial, slice 62 of 120 (z = -211.5 mm)``
    width_mm: float
    height_mm: float
    image: str  # data URI of a JPEG that fills the picture
    outlines: tuple[Outline, ...]  # regions, drawn in this order
    marks: tuple[Mark, ...]  # texts, drawn last
    sides: tuple[str, str]  # letters at the left and the right edge


@dataclasses.dataclass(frozen=True)
class View:
    """How an RAS+ array lies on the screen: the axis along the line of sight and the two in the picture.

    In each of the three views both axes in the picture end at the picture's upper left corner.
    """

    name: str
    through: int
    across: int
    down: int
    sides: tuple[str, str]

    def rows(self, plane: np.ndarray) -> np.ndarray:
        """Turn a plane indexed by (across, down) into rows from above, each from the left."""
        return plane.T[::-1, ::-1]


_AXIAL = View("axial", through=2, across=0, down=1, sides=("R", "L"))
CORONAL = View("coronal", through=1, across=0, down=2, sides=("R", "L"))
SAGITTAL = View("sagittal", through=0, across=1, down=2, sides=("A", "P"))


def axial(
    ct: Volume,
    index: int,
    *,
    masks: Mapping[str, np.ndarray],
    box: IndexBox | None = None,
    marks: Sequence[tuple[str, tuple[float, float, float]]] = (),
) -> Picture:
    """One axial slice in the mediastinal window.

    Args:
        index: slice, from 0, from the feet.
        masks: boolean arrays on the scan's grid by kind; outlined in this order.
        box: the part to show; all by default.
        marks: texts with voxel coordinates (x, y, z).
    """
    x, y, _ = box or whole_box(ct.shape)
    title = f"axial, {slice_name(ct, index)}"
    shown = (x, y, slice(index, index + 1))
    return _picture(_AXIAL, ct, masks, shown, window=_MEDIASTINUM, title=title, marks=marks)


def projection(
    ct: Volume, view: View, *, masks: Mapping[str, np.ndarray], slab: IndexBox, box: IndexBox
) -> Picture:
    """Maximum projection of the slab along the line of sight.

    Args:
        view: ``CORONAL`` or ``SAGITTAL``.
        masks: boolean arrays on the scan's grid by kind; their shadows are outlined in this order.
        slab: what is projected along the line of sight; its other two axes are ignored.
        box: the part to show across the line of sight.
    """
    shown = triple(slab[axis] if axis == view.through else box[axis] for axis in range(3))
    depth = (shown[view.through].stop - shown[view.through].start) * ct.spacing_mm[view.through]
    title = f"{view.name}, maximum over {depth:.0f} mm"
    return _picture(view, ct, masks, shown, window=_PROJECTION, title=title)


def whole_box(shape: Sequence[int]) -> IndexBox:
    """The box of a whole array."""
    return triple(slice(0, size) for size in shape)


def box_with_margin(mask: np.ndarray, spacing_mm: Sequence[float], *, margin_mm: float) -> IndexBox:
    """The mask's bounding box, widened by ``margin_mm`` within the array; all of it where it is empty."""
    margin = [round(margin_mm / spacing) for spacing in spacing_mm]
    return mask_slices(mask, margin) or whole_box(mask.shape)


def informative_slices(weight: np.ndarray, heart: np.ndarray, *, count: int, apart: int) -> tuple[int, ...]:
    """Axial slices worth showing, from the feet up.

    Args:
        weight: one number per slice, zero where nothing is outlined; the heaviest come first.
        heart: boolean mask; where too few slices have weight, levels spread over it fill up.
        apart: least distance of two slices.
    """
    chosen: list[int] = []

    def take(candidates: Sequence[int]) -> None:
        for index in candidates:
            if len(chosen) < count and all(abs(index - other) >= apart for other in chosen):
                chosen.append(int(index))

    order = np.argsort(-weight, kind="stable")
    take([index for index in order if weight[index] > 0])
    filled = np.flatnonzero(heart.any(axis=(0, 1)))
    levels = filled if filled.size else np.arange(heart.shape[2])
    take([levels[round((len(levels) - 1) * share)] for share in (0.6, 0.4, 0.8, 0.2)])
    return tuple(sorted(chosen))


def _picture(
    view: View,
    ct: Volume,
    masks: Mapping[str, np.ndarray],
    box: IndexBox,
    *,
    window: tuple[float, float],
    title: str,
    marks: Sequence[tuple[str, tuple[float, float, float]]] = (),
) -> Picture:
    """The maximum of a box along the line of sight, with the shadows of the masks in it."""
    plane = ct.array[box].max(axis=view.through)
    across_mm, down_mm = ct.spacing_mm[view.across], ct.spacing_mm[view.down]
    width, height = plane.shape[0] * across_mm, plane.shape[1] * down_mm
    outlines, placed = [], []
    for kind, mask in masks.items():
        shadow = view.rows(np.any(mask[box], axis=view.through))
        if path := _path(shadow, across_mm=across_mm, down_mm=down_mm):
            outlines.append(Outline(kind, path))
    for text, voxel in marks:
        x = (voxel[view.across] - box[view.across].start + 0.5) * across_mm
        y = (voxel[view.down] - box[view.down].start + 0.5) * down_mm
        placed.append(Mark(text, round(width - x, 2), round(height - y, 2)))
    image = _jpeg(view.rows(plane), window, (width, height))
    size = round(width, 2), round(height, 2)
    return Picture(title, *size, image, tuple(outlines), tuple(placed), view.sides)


def _jpeg(rows: np.ndarray, window: tuple[float, float], extent_mm: tuple[float, float]) -> str:
    """Resample to square pixels before windowing, so that edges keep their HU; then pack as a data URI."""
    from PIL import Image

    width, height = (max(1, round(extent / _PIXEL_MM)) for extent in extent_mm)
    coarse = Image.fromarray(np.ascontiguousarray(rows, dtype=np.float32))
    fine = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    low, high = window
    scaled = np.clip((fine - low) / (high - low), 0, 1) * 255
    packed = io.BytesIO()
    Image.fromarray(scaled.round().astype(np.uint8)).save(packed, "JPEG", quality=84, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(packed.getvalue()).decode("ascii")


def _path(rows: np.ndarray, *, across_mm: float, down_mm: float) -> str:
    """SVG path along the border of a boolean image, in mm; empty where the image is empty."""
    from skimage.measure import approximate_polygon, find_contours

    if not rows.any():
        return ""
    padded = np.pad(rows.astype(np.float32), 1)
    pieces = []
    for contour in find_contours(padded, 0.5):
        points = approximate_polygon((contour - 0.5) * (down_mm, across_mm), tolerance=0.12)
        pieces.append("M" + "L".join(f"{x:.1f} {y:.1f}" for y, x in points[:-1]) + "Z")
    return "".join(pieces)
