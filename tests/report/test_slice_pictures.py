"""Where things land in a picture, whatever the voxels."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from coronet.io.volume import Volume, grid_affine
from coronet.report import slice_pictures

SPACING = (1.0, 2.0, 4.0)
SHAPE = (40, 30, 20)


def grey(picture: slice_pictures.Picture) -> np.ndarray:
    packed = base64.b64decode(picture.image.removeprefix("data:image/jpeg;base64,"))
    return np.asarray(Image.open(io.BytesIO(packed)).convert("L"))


def scan_with(voxel: tuple[slice, slice, slice]) -> tuple[Volume, np.ndarray]:
    array = np.full(SHAPE, -1000, dtype=np.int16)
    mask = np.zeros(SHAPE, dtype=bool)
    array[voxel], mask[voxel] = 1000, True
    return Volume(array, grid_affine(SPACING, (0.0, 0.0, 0.0))), mask


def brightest(picture: slice_pictures.Picture) -> tuple[float, float]:
    """Centre of the bright part, in mm from the upper left corner."""
    image = grey(picture)
    rows, columns = np.nonzero(image > 128)
    height, width = image.shape
    return (
        (columns.mean() + 0.5) / width * picture.width_mm,
        (rows.mean() + 0.5) / height * picture.height_mm,
    )


def outline_centre(picture: slice_pictures.Picture, kind: str) -> tuple[float, float]:
    path = next(outline.path for outline in picture.outlines if outline.kind == kind)
    points = np.array([[float(value) for value in pair] for pair in re.findall(r"([\d.]+) ([\d.]+)", path)])
    return tuple((points.min(axis=0) + points.max(axis=0)) / 2)


RIGHT_FRONT_HEAD = (slice(34, 38), slice(24, 27), slice(16, 18))


def test_an_axial_slice_is_seen_from_the_feet():
    ct, mask = scan_with(RIGHT_FRONT_HEAD)
    picture = slice_pictures.axial(ct, 16, masks={"heart": mask})
    x, y = brightest(picture)
    assert (picture.width_mm, picture.height_mm) == (40.0, 60.0)
    assert x < 20, "the patient's right must be on the left"
    assert y < 30, "the front must be above"
    assert outline_centre(picture, "heart") == pytest.approx((x, y), abs=0.6)
    assert outline_centre(picture, "heart") == pytest.approx((4.0, 9.0), abs=0.11)


@pytest.mark.parametrize(
    ("view", "size", "place"),
    [
        (slice_pictures.CORONAL, (40.0, 80.0), (4.0, 12.0)),
        (slice_pictures.SAGITTAL, (60.0, 80.0), (9.0, 12.0)),
    ],
)
def test_projections_have_the_head_up_and_right_or_front_on_the_left(view, size, place):
    ct, mask = scan_with(RIGHT_FRONT_HEAD)
    everything = slice_pictures.whole_box(SHAPE)
    picture = slice_pictures.projection(ct, view, masks={"calcium": mask}, slab=everything, box=everything)
    assert (picture.width_mm, picture.height_mm) == size
    assert outline_centre(picture, "calcium") == pytest.approx(place, abs=0.11)
    assert brightest(picture) == pytest.approx(place, abs=0.8)


def test_a_projection_sees_nothing_outside_its_slab():
    ct, mask = scan_with(RIGHT_FRONT_HEAD)
    slab = (slice(0, 40), slice(0, 20), slice(0, 20))
    picture = slice_pictures.projection(
        ct, slice_pictures.CORONAL, masks={"calcium": mask}, slab=slab, box=slice_pictures.whole_box(SHAPE)
    )
    assert picture.outlines == ()
    assert grey(picture).max() < 20


def test_a_box_moves_image_outline_and_mark_together():
    ct, mask = scan_with(RIGHT_FRONT_HEAD)
    box = slice_pictures.box_with_margin(mask, SPACING, margin_mm=8.0)
    assert box == (slice(26, 40), slice(20, 30), slice(14, 20))
    picture = slice_pictures.axial(ct, 16, masks={"hit": mask}, box=box, marks=[("7", (35.5, 25.0, 16.0))])
    assert (picture.marks[0].x_mm, picture.marks[0].y_mm) == pytest.approx(outline_centre(picture, "hit"))
    assert brightest(picture) == pytest.approx(outline_centre(picture, "hit"), abs=0.6)


def test_the_mediastinal_window_is_400_about_40():
    ct, _ = scan_with(RIGHT_FRONT_HEAD)
    ct = ct.with_array(np.full(SHAPE, 40, dtype=np.int16))
    assert abs(int(grey(slice_pictures.axial(ct, 3, masks={})).mean()) - 128) <= 2


def test_an_empty_mask_shows_the_whole_scan_and_no_outline():
    ct, mask = scan_with(RIGHT_FRONT_HEAD)
    nothing = np.zeros_like(mask)
    assert slice_pictures.box_with_margin(nothing, SPACING, margin_mm=5.0) == slice_pictures.whole_box(SHAPE)
    assert slice_pictures.axial(ct, 3, masks={"heart": nothing}).outlines == ()


def test_a_hole_stays_a_hole():
    mask = np.zeros(SHAPE, dtype=bool)
    mask[5:15, 5:15, 3] = True
    mask[9:11, 9:11, 3] = False
    ct, _ = scan_with(RIGHT_FRONT_HEAD)
    picture = slice_pictures.axial(ct, 3, masks={"heart": mask})
    assert picture.outlines[0].path.count("M") == 2


def test_telling_slices_take_the_heaviest_first_and_keep_apart():
    weight = np.zeros(20)
    weight[[4, 5, 12]] = [3.0, 9.0, 1.0]
    heart = np.ones((2, 2, 20), dtype=bool)
    assert slice_pictures.informative_slices(weight, heart, count=2, apart=3) == (5, 12)


def test_telling_slices_spread_over_the_heart_where_there_is_no_calcium():
    heart = np.zeros((2, 2, 20), dtype=bool)
    heart[:, :, 6:17] = True
    chosen = slice_pictures.informative_slices(np.zeros(20), heart, count=3, apart=2)
    assert len(chosen) == 3
    assert all(6 <= index < 17 for index in chosen)
