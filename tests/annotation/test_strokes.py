"""Strokes in JSON and in label volumes mean the same voxels."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nrrd
import numpy as np
import pytest

from coronet.annotation.stroke_voxels import mark_strokes, read_strokes
from coronet.annotation.strokes import STROKE_LABELS, Stroke, Strokes, check_stroke_file, write_strokes
from coronet.errors import InputError
from coronet.io.volume import Volume, grid_affine, write_nifti

SCAN = Volume(np.zeros((40, 30, 20), np.int16), grid_affine((1.0, 2.0, 2.5), (-20.0, -30.0, 100.0)))
LINE = Stroke("heart", "line", ((-10.0, 0.0, 120.0), (10.0, 0.0, 120.0)), 3.0)
POINT = Stroke("background", "point", ((0.0, 0.0, 120.0),), 4.0)
BOX = Stroke("background", "box", ((-15.0, -20.0, 100.0), (-12.0, -16.0, 105.0)))


def labels_of(*strokes: Stroke, scan: Volume = SCAN) -> np.ndarray:
    return mark_strokes(Strokes("heart", strokes), scan).painted(scan.shape)


def test_a_line_covers_what_lies_within_its_radius_in_millimetres():
    labels = labels_of(LINE)
    x, y, z = np.meshgrid(*(np.arange(size) for size in SCAN.shape), indexing="ij")
    world = [x - 20.0, 2.0 * y - 30.0, 2.5 * z + 100.0]
    beyond = np.maximum(np.abs(world[0]) - 10.0, 0.0)
    near = beyond**2 + world[1] ** 2 + (world[2] - 120.0) ** 2 <= 9.0
    assert near.sum() > 50
    np.testing.assert_array_equal(labels == 1, near)


def test_a_box_covers_the_voxels_between_its_corners():
    labels = labels_of(BOX)
    expected = np.zeros(SCAN.shape, bool)
    expected[5:9, 5:8, 0:3] = True
    np.testing.assert_array_equal(labels == 2, expected)


def test_the_later_stroke_holds():
    middle = (20, 15, 8)
    assert labels_of(LINE, POINT)[middle] == 2
    assert labels_of(POINT, LINE)[middle] == 1


def test_a_line_thinner_than_a_voxel_marks_those_it_passes():
    thin = Stroke("heart", "line", ((-10.0, 0.9, 120.9), (10.0, 0.9, 120.9)), 0.0)
    assert (labels_of(thin) == 1).sum() == 21


def test_a_turned_grid_marks_the_same_places():
    angle = np.deg2rad(20)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turned = Volume(SCAN.array, turn @ SCAN.affine)
    moved = Stroke(
        "heart", "line", tuple(tuple((turn @ [*p, 1])[:3]) for p in LINE.points_mm), LINE.radius_mm
    )
    np.testing.assert_array_equal(labels_of(moved, scan=turned), labels_of(LINE))


def test_json_comes_back_as_it_was_and_has_the_same_bytes(tmp_path):
    strokes = Strokes("heart", (LINE, POINT, BOX))
    write_strokes(tmp_path / "a.json", strokes)
    back = read_strokes(tmp_path / "a.json", SCAN, target="heart")
    assert back == strokes
    write_strokes(tmp_path / "b.json", back)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert len((tmp_path / "a.json").read_text().splitlines()) == 5 + len(strokes.strokes) + 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"label": "liver"}, 'stroke 1: "liver" is none of heart, background'),
        ({"kind": "circle"}, '"circle" is none of'),
        ({"points_mm": [[0, 0, 120]]}, "a line has 2 or more points"),
        ({"points_mm": [[0, 0, 120], [0, 0]]}, r"points are \[x, y, z\]"),
        ({"points_mm": [[0, 0, 120], [0, 0, "1"]]}, "in millimetres"),
        ({"points_mm": [[0, 0, 120], [0, 0, float("inf")]]}, "in millimetres"),
        ({"radius_mm": -1}, "not negative"),
        ({"radius_mm": [3]}, "in millimetres"),
        ({"patient": "x"}, "and nothing else"),
        ({"points_mm": [[500, 0, 120], [510, 0, 120]]}, "outside the scan"),
        ({"points_mm": [[-10, 0, 120], [10, 0, 1200]]}, "outside the scan"),
        ({"kind": "box", "points_mm": [[500, 0, 120], [510, 0, 130]]}, "outside the scan"),
        ({"kind": "box", "points_mm": [[0, 0, 120]]}, "a box has 2 points"),
        ({"kind": "box", "points_mm": [[0.3, 0.3, 120.3], [0.4, 0.4, 120.4]]}, "holds no voxel"),
        ({"label": "background"}, "No stroke has the label heart"),
    ],
)
def test_a_wrong_stroke_is_named(tmp_path, change, words):
    write_strokes(tmp_path / "a.json", Strokes("heart", (LINE,)))
    raw = json.loads((tmp_path / "a.json").read_text())
    raw["strokes"][0] |= change
    (tmp_path / "b.json").write_text(json.dumps(raw))
    with pytest.raises(InputError, match=words):
        read_strokes(tmp_path / "b.json", SCAN, target="heart")


CLICK = {"kind": "point", "label": "coronary", "points_mm": [[0, 0, 120]]}
BONE = {**CLICK, "label": "bone"}


@pytest.mark.parametrize(
    ("target", "content", "words"),
    [
        (
            "calcium",
            {"strokes": []},
            'no stroke in it; if the scan has no coronary calcium, write "none": true',
        ),
        ("calcium", {}, '"strokes"'),
        ("calcium", {"none": False}, '"none" can only be true'),
        ("calcium", {"none": "true", "strokes": [BONE]}, '"none" can only be true'),
        ("calcium", {"none": True, "strokes": [BONE, CLICK]}, r"stroke 2 \(coronary.*labels some"),
        ("calcium", {"none": True, "strokes": "none"}, 'a list "strokes"'),
        ("calcium", {"None": True, "strokes": [BONE]}, "nothing else"),
        ("heart", {"none": True}, "a heart mask is never empty"),
        ("heart", {"strokes": []}, "no stroke in it.$"),
    ],
)
def test_files_that_contradict_themselves_are_refused_without_the_scan(tmp_path, target, content, words):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"format": "coronet strokes 1", "target": target, **content}))
    with pytest.raises(InputError, match=words):
        check_stroke_file(path, target=target)


@pytest.mark.parametrize("name", ["a.json", "a.nii.gz"])
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_holds_no_strokes(tmp_path, name, make):
    make(tmp_path / name)
    with pytest.raises(InputError, match="is no file"):
        check_stroke_file(tmp_path / name, target="heart")


def test_a_key_that_is_there_twice_is_refused(tmp_path):
    head = '{"format": "coronet strokes 1", "target": "calcium", '
    (tmp_path / "a.json").write_text(head + '"strokes": [{}], "none": true, "strokes": []}')
    with pytest.raises(InputError, match='the key "strokes" is there twice'):
        check_stroke_file(tmp_path / "a.json", target="calcium")


@pytest.mark.parametrize("strokes", [(), (Stroke("bone", "point", ((0.0, 0.0, 120.0),), 0.0),)])
def test_a_file_that_says_none_comes_back_as_it_was(tmp_path, strokes):
    none = Strokes("calcium", strokes, none=True)
    write_strokes(tmp_path / "a.json", none)
    assert json.loads((tmp_path / "a.json").read_text())["none"] is True
    assert read_strokes(tmp_path / "a.json", SCAN, target="calcium") == none


def test_background_over_all_heart_strokes_is_refused(tmp_path):
    over = Stroke("background", "box", ((-20.0, -30.0, 100.0), (19.0, 28.0, 147.5)))
    write_strokes(tmp_path / "a.json", Strokes("heart", (LINE, over)))
    with pytest.raises(InputError, match="cover every heart stroke"):
        read_strokes(tmp_path / "a.json", SCAN, target="heart")


def test_strokes_for_the_other_mask_are_refused(tmp_path):
    write_strokes(tmp_path / "a.json", Strokes("heart", (LINE,)))
    with pytest.raises(InputError, match="for the heart mask, not the calcium mask"):
        read_strokes(tmp_path / "a.json", SCAN, target="calcium")


def test_a_sparse_nifti_says_what_the_strokes_say(tmp_path):
    strokes = Strokes("heart", (LINE, POINT, BOX))
    labels = mark_strokes(strokes, SCAN).painted(SCAN.shape)
    write_nifti(tmp_path / "a.nii.gz", SCAN.with_array(labels))
    marks, expected = read_strokes(tmp_path / "a.nii.gz", SCAN, target="heart"), mark_strokes(strokes, SCAN)
    np.testing.assert_array_equal(marks.index, expected.index)
    np.testing.assert_array_equal(marks.label, expected.label)


def test_empty_and_unknown_labels_are_refused(tmp_path):
    write_nifti(tmp_path / "a.nii.gz", SCAN.with_array(np.zeros(SCAN.shape, np.int16)))
    with pytest.raises(InputError, match="no stroke in it"):
        read_strokes(tmp_path / "a.nii.gz", SCAN, target="heart")
    write_nifti(tmp_path / "b.nii.gz", SCAN.with_array(np.full(SCAN.shape, 9, np.int16)))
    with pytest.raises(InputError, match="label 9 is none of 1 heart, 2 background"):
        read_strokes(tmp_path / "b.nii.gz", SCAN, target="heart")


def seg_nrrd(path, array, first, names, *, layers=None):
    """Write as 3D Slicer does: LPS, cropped to ``first``, with names, extents and layers of segments."""
    affine = SCAN.affine.copy()
    affine[:3, 3] = (SCAN.affine @ [*first, 1])[:3]
    lps = np.diag([-1.0, -1.0, 1.0]) @ affine[:3]
    header = {
        "space": "left-posterior-superior",
        "space origin": lps[:, 3],
        "kinds": ["domain"] * 3,
        "space directions": lps[:, :3].T,
    }
    if layers is not None:
        header["kinds"] = ["list", *header["kinds"]]
        header["space directions"] = np.vstack([np.full((1, 3), np.nan), header["space directions"]])
    for number, name in enumerate(names):
        header[f"Segment{number}_ID"] = f"Segment_{number}"
        header[f"Segment{number}_Name"] = name
        header[f"Segment{number}_LabelValue"] = "1" if layers else str(number + 1)
        header[f"Segment{number}_Layer"] = str(layers[number]) if layers else "0"
        header[f"Segment{number}_Extent"] = " ".join(f"0 {size - 1}" for size in array.shape[-3:])
    nrrd.write(str(path), array, header)


def test_a_cropped_slicer_segmentation_is_read_by_the_names_of_its_segments(tmp_path):
    cut = np.zeros((10, 8, 4), np.uint8)
    cut[2:5, 3, 1], cut[7, 2:6, 2] = 1, 2
    seg_nrrd(tmp_path / "a.seg.nrrd", cut, (12, 9, 5), ["Background", "Heart"])
    marks = read_strokes(tmp_path / "a.seg.nrrd", SCAN, target="heart")
    assert sorted(map(tuple, marks.of("background").tolist())) == [(14, 12, 6), (15, 12, 6), (16, 12, 6)]
    assert sorted(map(tuple, marks.of("heart").tolist())) == [(19, y, 7) for y in range(11, 15)]


def test_segments_that_overlap_lie_in_layers_and_the_later_holds(tmp_path):
    cut = np.zeros((2, 10, 8, 4), np.uint8)
    cut[0, 2:6, 3, 1], cut[1, 4:8, 3, 1] = 1, 1
    seg_nrrd(tmp_path / "a.seg.nrrd", cut, (12, 9, 5), ["heart", "background"], layers=(0, 1))
    marks = read_strokes(tmp_path / "a.seg.nrrd", SCAN, target="heart")
    assert len(marks.of("heart")) == 2
    assert len(marks.of("background")) == 4


def test_a_segment_of_another_name_is_refused(tmp_path):
    cut = np.ones((10, 8, 4), np.uint8)
    seg_nrrd(tmp_path / "a.seg.nrrd", cut, (12, 9, 5), ["Liver"])
    with pytest.raises(InputError, match='segment "Liver" is none of 1 heart, 2 background'):
        read_strokes(tmp_path / "a.seg.nrrd", SCAN, target="heart")


def test_a_label_volume_of_another_scan_is_refused(tmp_path):
    other = Volume(np.ones((40, 30, 20), np.uint8), grid_affine((1.3, 2.0, 2.5), (-20.0, -30.0, 100.0)))
    write_nifti(tmp_path / "a.nii.gz", other)
    with pytest.raises(InputError, match="another grid"):
        read_strokes(tmp_path / "a.nii.gz", SCAN, target="heart")


def test_each_target_has_its_labels():
    assert STROKE_LABELS["heart"] == ("heart", "background")
    assert STROKE_LABELS["calcium"][0] == "coronary"
