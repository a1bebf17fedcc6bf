"""Lesions sorted by fate, and the pictures that show them."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from coronet.io.volume import Volume, grid_affine
from coronet.report import case_views


def test_lesions_are_found_false_or_missed_as_wholes():
    reference, predicted = np.zeros((2, 30, 30, 10), dtype=np.uint8)
    reference[5:9, 5:9, 4] = 1
    predicted[8:12, 5:9, 4] = 1
    reference[20:23, 5:8, 4] = 2
    predicted[5:8, 20:23, 6] = 1
    fate = case_views.compare_masks(predicted, reference)
    assert fate["hit"].sum() == 16
    assert fate["false"].sum() == 9
    assert fate["missed"].sum() == 9
    assert fate["truth"].sum() == 25


@settings(max_examples=40, deadline=None)
@given(
    arrays(np.uint8, (6, 6, 4), elements=st.integers(0, 1)),
    arrays(np.uint8, (6, 6, 4), elements=st.integers(0, 1)),
)
def test_every_predicted_voxel_is_either_hit_or_false(predicted, reference):
    fate = case_views.compare_masks(predicted, reference)
    assert np.array_equal(fate["hit"] | fate["false"], predicted > 0)
    assert not (fate["hit"] & fate["false"]).any()
    assert not (fate["missed"] & (predicted > 0)).any()
    assert not (fate["missed"] & ~(reference > 0)).any()


def test_labels_tell_vessels_apart_and_plain_masks_do_not():
    plain = np.zeros((4, 4, 4), dtype=np.uint8)
    plain[1, 1, 1] = 1
    assert list(case_views.by_vessel(plain)) == ["calcium"]
    labelled = plain.copy()
    labelled[2, 2, 2] = 4
    assert list(case_views.by_vessel(labelled)) == ["lm", "rca"]


def test_a_case_is_shown_in_axial_slices_with_errors_first_and_in_two_projections():
    shape, spacing = (40, 40, 40), (2.0, 2.0, 3.0)
    ct = Volume(np.zeros(shape, dtype=np.int16), grid_affine(spacing, (0, 0, 0)))
    heart = np.zeros(shape, dtype=bool)
    heart[10:30, 10:30, 5:35] = True
    found, wrong = np.zeros((2, *shape), dtype=bool)
    found[12:16, 12:16, 10] = True
    wrong[20:22, 20:22, 25] = True
    shown = case_views.case_pictures(
        ct, heart, calcium={"hit": found, "false": wrong}, count=1, numbers=wrong * 3
    )
    assert [picture.title.split(",")[0] for picture in shown] == ["axial", "coronal", "sagittal"]
    assert shown[0].title == "axial, slice 26 of 40 (z = 75 mm)"
    assert [mark.text for mark in shown[0].marks] == ["3"]
    assert {outline.kind for outline in shown[1].outlines} == {"heart", "hit", "false"}


def test_a_scan_without_heart_or_calcium_still_has_pictures():
    ct = Volume(np.zeros((20, 20, 12), dtype=np.int16), grid_affine((3.0, 3.0, 3.0), (0, 0, 0)))
    nothing = np.zeros(ct.shape, dtype=np.uint8)
    shown = case_views.case_pictures(ct, nothing, calcium=case_views.by_vessel(nothing))
    assert len(shown) == 5
    assert all(not picture.outlines for picture in shown)


def test_both_hearts_are_shown_where_they_differ_most():
    shape, spacing = (40, 40, 40), (2.0, 2.0, 3.0)
    ct = Volume(np.zeros(shape, dtype=np.int16), grid_affine(spacing, (0, 0, 0)))
    heart = np.zeros(shape, dtype=bool)
    heart[10:30, 10:30, 5:35] = True
    reference = heart.copy()
    reference[10:14, 10:14, 29] = False
    shown = case_views.case_pictures(ct, heart, calcium={}, count=1, reference_heart=reference)
    assert shown[0].title.startswith("axial, slice 30 of 40")
    assert [outline.kind for outline in shown[0].outlines] == ["heart", "heart-reference"]
    same = case_views.case_pictures(ct, heart, calcium={}, count=1, reference_heart=heart)
    assert {outline.kind for picture in same for outline in picture.outlines} == {"heart"}
