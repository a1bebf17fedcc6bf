"""A sheet of slices with the mask's outline and the strokes, to judge a drawing at a glance."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from coronet.annotation.strokes import Marks
from coronet.io.volume import Volume

if TYPE_CHECKING:
    from PIL.Image import Image

_WINDOW_HU = (-160.0, 240.0)
_PIXEL_MM = 0.7
_MARGIN_MM = 35.0
_COLUMNS, _ROWS = 4, 3
_OUTLINE = (255, 210, 0)
_COLOURS = (
    (60, 230, 90),
    (80, 190, 255),
    (255, 90, 90),
    (255, 140, 255),
    (255, 160, 60),
    (200, 200, 255),
    (180, 180, 180),
)


def contact_sheet(volume: Volume, mask: np.ndarray, marks: Marks | None, *, uncertainty: np.ndarray) -> bytes:
    """Axial slices through the mask as PNG: outline, strokes in colours, uncertain places tinted red.

    The patient's right is on the picture's left, the front is up; each slice's index stands in its corner.

    Args:
        volume: the scan.
        mask: shape of ``volume``; where it is empty the middle of the scan is shown.
        marks: stroked voxels.
        uncertainty: uint8 per cent, shape of ``volume``.
    """
    from PIL import Image as Images

    box = _box(volume, mask)
    depth = np.flatnonzero(mask.any(axis=(0, 1))) if mask.any() else np.arange(volume.shape[2])
    low, high = int(depth[0]), int(depth[-1])
    edge = max(1, round(6 / volume.spacing_mm[2]))
    chosen = np.linspace(max(low - edge, 0), min(high + edge, volume.shape[2] - 1), _COLUMNS * _ROWS)
    tiles = [_tile(volume, mask, marks, uncertainty, box=box, z=round(float(z))) for z in chosen]
    width, height = tiles[0].size
    page = Images.new("RGB", (width * _COLUMNS, height * _ROWS))
    for number, tile in enumerate(tiles):
        page.paste(tile, (width * (number % _COLUMNS), height * (number // _COLUMNS)))
    stream = io.BytesIO()
    page.save(stream, "PNG")
    return stream.getvalue()


def _box(volume: Volume, mask: np.ndarray) -> tuple[slice, slice]:
    sides = []
    for axis in (0, 1):
        seen = np.flatnonzero(mask.any(axis=tuple(i for i in range(3) if i != axis)))
        wide = round(_MARGIN_MM / volume.spacing_mm[axis])
        low, high = (int(seen[0]), int(seen[-1])) if seen.size else (0, volume.shape[axis] - 1)
        sides.append(slice(max(low - wide, 0), min(high + wide + 1, volume.shape[axis])))
    return sides[0], sides[1]


def _tile(
    volume: Volume,
    mask: np.ndarray,
    marks: Marks | None,
    uncertainty: np.ndarray,
    *,
    box: tuple[slice, slice],
    z: int,
) -> Image:
    from PIL import Image as Images
    from PIL import ImageDraw

    size = tuple(
        max(1, round((side.stop - side.start) * step / _PIXEL_MM))
        for side, step in zip(box, volume.spacing_mm, strict=False)
    )

    def turned(plane: np.ndarray, kind: int) -> np.ndarray:
        # x runs to the right of the patient, so it runs to the left here; y runs to the front, here up.
        return np.asarray(Images.fromarray(np.ascontiguousarray(plane[::-1, ::-1].T)).resize(size, kind))

    low, high = _WINDOW_HU
    grey = np.clip((volume.array[(*box, z)].astype(np.float32) - low) * (255 / (high - low)), 0, 255)
    smooth, sharp = Images.Resampling.BILINEAR, Images.Resampling.NEAREST
    colour = np.repeat(turned(grey.astype(np.uint8), smooth)[:, :, None], 3, axis=2)
    doubt = turned(uncertainty[(*box, z)], smooth) >= 50
    colour[doubt, 0] = np.minimum(colour[doubt, 0].astype(np.int16) + 60, 255).astype(np.uint8)
    inside = turned((mask[(*box, z)] > 0).astype(np.uint8), sharp) > 0
    rim = inside.copy()
    rim[1:-1, 1:-1] &= ~(inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:])
    colour[rim] = _OUTLINE
    if marks is not None:
        said = np.zeros(volume.shape[:2], np.uint8)
        here = marks.index[:, 2] == z
        said[marks.index[here, 0], marks.index[here, 1]] = marks.label[here]
        strokes = turned(said[box], sharp)
        for label in range(1, len(marks.names) + 1):
            colour[strokes == label] = _COLOURS[(label - 1) % len(_COLOURS)]
    tile = Images.fromarray(colour)
    ImageDraw.Draw(tile).text((4, 2), f"slice {z}", fill=(255, 255, 255))
    return tile
