"""A sheet of slices with the mask's outline and the strokes, to check a mask at a glance."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from coronet.annotation.stroke_voxels import Marks
from coronet.imaging.resampling import mask_slices
from coronet.imaging.slice_names import slice_name
from coronet.io.volume import Volume, triple

if TYPE_CHECKING:
    from PIL.Image import Image

_WINDOW_HU = (-160.0, 240.0)
_PIXEL_MM = 0.7
_MIN_WIDTH = 240  # of a slice, in pixels: room for its title
_MARGIN_MM = 35.0
_COLUMNS, _ROWS = 4, 3
_SCALE_MM = 20
_FOOTER = 26  # height in pixels of the legend
_INK = (255, 255, 255)
_OUTLINE = (255, 210, 0)
_UNCERTAIN = (150, 60, 60)
_COLOURS = (
    (60, 230, 90),
    (80, 190, 255),
    (255, 90, 90),
    (255, 140, 255),
    (255, 160, 60),
    (200, 200, 255),
    (180, 180, 180),
)
"""Of the labels of strokes, in their order."""


def contact_sheet(volume: Volume, mask: np.ndarray, marks: Marks | None, *, uncertainty: np.ndarray) -> bytes:
    """Axial slices through the mask as PNG: outline, strokes in colours, uncertain places tinted red.

    The patient's right is on the picture's left, the front is up. Each slice carries its number, height
    and a bar of 20 mm; the legend is below.

    Args:
        mask: shape of ``volume``; where it is empty the middle of the scan is shown.
        marks: voxels with strokes.
        uncertainty: uint8 per cent, shape of ``volume``.
    """
    from PIL import Image as Images

    steps = np.asarray(volume.spacing_mm)
    sides = mask_slices(mask, [*np.rint(_MARGIN_MM / steps[:2]).astype(int), 0])
    box = sides or triple(slice(0, size) for size in volume.shape)
    edge = max(1, round(6 / steps[2]))
    low, high = max(box[2].start - edge, 0), min(box[2].stop - 1 + edge, volume.shape[2] - 1)
    chosen = sorted({round(float(z)) for z in np.linspace(low, high, _COLUMNS * _ROWS)})
    width_mm = (box[0].stop - box[0].start) * float(steps[0])
    pixel_mm = min(_PIXEL_MM, width_mm / _MIN_WIDTH)
    tiles = [_tile(volume, mask, marks, uncertainty, box=box[:2], z=z, pixel_mm=pixel_mm) for z in chosen]
    width, height = tiles[0].size
    page = Images.new("RGB", (width * _COLUMNS, height * _ROWS + _FOOTER))
    for number, tile in enumerate(tiles):
        page.paste(tile, (width * (number % _COLUMNS), height * (number // _COLUMNS)))
    _draw_legend(page, marks, top=height * _ROWS)
    stream = io.BytesIO()
    page.save(stream, "PNG")
    return stream.getvalue()


def _draw_legend(page: Image, marks: Marks | None, *, top: int) -> None:
    from PIL import ImageDraw

    entries = [("mask", _OUTLINE), ("uncertain", _UNCERTAIN)]
    if marks is not None:
        used = np.unique(marks.label).tolist()
        entries += [(f"stroke: {marks.names[label - 1]}", _colour(label)) for label in used]
    pen, x = ImageDraw.Draw(page), 6
    for text, colour in entries:
        pen.rectangle((x, top + 8, x + 10, top + 18), fill=colour)
        pen.text((x + 15, top + 7), text, fill=_INK)
        x += 15 + round(pen.textlength(text)) + 16
    pen.text((x, top + 7), f"bar: {_SCALE_MM} mm; R: patient's right", fill=_INK)


def _colour(label: int) -> tuple[int, int, int]:
    return _COLOURS[(label - 1) % len(_COLOURS)]


def _tile(
    volume: Volume,
    mask: np.ndarray,
    marks: Marks | None,
    uncertainty: np.ndarray,
    *,
    box: tuple[slice, slice],
    z: int,
    pixel_mm: float,
) -> Image:
    from PIL import Image as Images
    from PIL import ImageDraw

    size = tuple(
        max(1, round((side.stop - side.start) * step / pixel_mm))
        for side, step in zip(box, volume.spacing_mm, strict=False)
    )

    def on_screen(plane: np.ndarray, kind: int) -> np.ndarray:
        # x runs to the right of the patient, so it runs to the left here; y runs to the front, here up.
        return np.asarray(Images.fromarray(np.ascontiguousarray(plane[::-1, ::-1].T)).resize(size, kind))

    low, high = _WINDOW_HU
    grey = np.clip((volume.array[(*box, z)].astype(np.float32) - low) * (255 / (high - low)), 0, 255)
    smooth, sharp = Images.Resampling.BILINEAR, Images.Resampling.NEAREST
    colour = np.repeat(on_screen(grey.astype(np.uint8), smooth)[:, :, None], 3, axis=2)
    uncertain = on_screen(uncertainty[(*box, z)], smooth) >= 50
    colour[uncertain, 0] = np.minimum(colour[uncertain, 0].astype(np.int16) + 60, 255).astype(np.uint8)
    inside = on_screen((mask[(*box, z)] > 0).astype(np.uint8), sharp) > 0
    rim = inside.copy()
    rim[1:-1, 1:-1] &= ~(inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:])
    colour[rim] = _OUTLINE
    if marks is not None:
        labels = np.zeros(volume.shape[:2], np.uint8)
        here = marks.index[:, 2] == z
        labels[marks.index[here, 0], marks.index[here, 1]] = marks.label[here]
        strokes = on_screen(labels[box], sharp)
        for label in np.unique(strokes[strokes > 0]).tolist():
            colour[strokes == label] = _colour(label)
    tile = Images.fromarray(colour)
    pen, bottom = ImageDraw.Draw(tile), size[1] - 6
    pen.text((4, 2), slice_name(volume, z), fill=_INK)
    pen.text((4, size[1] // 2), "R", fill=_INK)
    pen.line((4, bottom, 4 + round(_SCALE_MM / pixel_mm), bottom), fill=_INK, width=2)
    return tile
