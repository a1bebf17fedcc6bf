"""Bright pieces around a heart: what is found and described, and how strokes overrule a forest."""

from __future__ import annotations

import dataclasses
import hashlib
import os

import numpy as np
import pytest

from coronet.annotation import calcium
from coronet.annotation.calcium import CORONARY, NAMES, OTHER
from coronet.annotation.candidate_features import FEATURES
from coronet.annotation.candidates import find_candidates
from coronet.annotation.draft_mask import CalciumTally
from coronet.annotation.forest import Samples, join_samples
from coronet.annotation.named_pieces import apply_labels
from coronet.annotation.stroke_voxels import Marks
from coronet.annotation.strokes import Stroke, Strokes
from coronet.errors import InputError
from coronet.io.volume import Volume, grid_affine
from dispatch import outputs_at_dispatch_levels

ORIGIN = (-40.0, -40.0, 10.0)
STEP = (1.0, 1.0, 2.0)
PLAQUE, WALL, BONE = (35, 40, 20), (50, 40, 20), (40, 40, 36)
"""Places of pieces, as voxels; the bone is long and reaches out of the heart."""


def scan(*, noise: int = 8, seed: int = 0) -> tuple[Volume, np.ndarray]:
    """A ball of a heart in fat, with three bright pieces and a speck of two voxels."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.arange(80), np.arange(80), np.arange(40)), indexing="ij")
    heart = ((x - 40) ** 2 + (y - 40) ** 2 + (2 * (z - 20)) ** 2 < 25**2).astype(np.uint8)
    hu = np.where(heart > 0, 40, -90) + rng.integers(-noise, noise + 1, heart.shape)
    hu[34:37, 39:42, 19:22] = 400
    hu[49:52, 39:41, 19:22] = 350
    hu[40, 10:70, 36] = 600
    hu[30, 30:32, 18] = 200
    return Volume(hu.astype(np.int16), grid_affine(STEP, ORIGIN)), heart


def world(place: tuple[int, int, int]) -> tuple[float, float, float]:
    return tuple(start + step * at for start, step, at in zip(ORIGIN, STEP, place, strict=True))


def click(label: str, place: tuple[int, int, int]) -> Stroke:
    return Stroke(label, "point", (world(place),), 0.0)


def strokes_of(*strokes: Stroke) -> Strokes:
    return Strokes("calcium", strokes)


def mask_of(drawn, place: tuple[int, int, int]) -> bool:
    return bool(drawn.mask[place])


@pytest.fixture(scope="module")
def library() -> Samples:
    """Plaques on the one side, walls on the other, of six scans."""
    tables = []
    for seed in range(6):
        ct, heart = scan(seed=seed + 1)
        found = find_candidates(ct, heart)
        strokes = strokes_of(click("coronary", PLAQUE), click("aorta", WALL), click("bone", BONE))
        classified = calcium.classify_candidates(found, apply_labels(found, strokes, ct), forest=None)
        tables.append(calcium.samples_of(classified, f"case-{seed}"))
    return join_samples(tables)


def test_pieces_are_found_near_the_heart_and_only_there():
    ct, heart = scan()
    found = find_candidates(ct, heart)
    assert found.count == 3
    labels = np.zeros(ct.shape, int)
    labels[found.box] = found.labels
    assert labels[PLAQUE] and labels[WALL] and labels[BONE]
    assert len({labels[PLAQUE], labels[WALL], labels[BONE]}) == 3
    assert not labels[30, 30, 18], "two voxels are noise"
    assert not labels[40, 10, 36], "far from the heart nothing is searched"
    assert (ct.array[labels > 0] >= 130).all()
    assert find_candidates(ct, heart, margin_mm=60.0).volume_mm3.max() == pytest.approx(120.0)


def test_features_describe_size_peak_and_place():
    ct, heart = scan()
    found = find_candidates(ct, heart)
    at = int(found.labels[tuple(p - side.start for p, side in zip(PLAQUE, found.box, strict=True))]) - 1
    assert found.features.dtype == np.int16 and found.features.shape == (3, len(FEATURES))
    assert found.volume_mm3[at] == pytest.approx(27 * 2.0)
    assert found.feature("peak_hu")[at] == 400
    assert found.feature("width_mm")[at] == 30 and found.feature("height_mm")[at] == 60
    assert found.centre_mm[at] == pytest.approx(world(PLAQUE))
    # five of 25 millimetres off the middle
    assert 170 <= found.feature("under_surface_mm")[at] <= 225
    assert found.feature("fat_2.5")[at] == 0 and found.feature("mean_hu_2.5")[at] == pytest.approx(40, abs=3)
    far = find_candidates(Volume(ct.array, grid_affine(STEP, (500.0, 0.0, 0.0))), heart)
    assert np.array_equal(far.features, found.features), "where the scan lies in the world does not matter"


def test_a_forest_classifies_new_scans_and_a_click_overrules_it(library):
    ct, heart = scan(seed=77)
    drawn = calcium.draw_calcium(ct, heart, None, prior=library)
    assert mask_of(drawn, PLAQUE) and not mask_of(drawn, WALL) and not mask_of(drawn, BONE)
    assert drawn.mask.sum() == 27
    strokes = strokes_of(click("valve", PLAQUE), click("coronary", WALL))
    corrected = calcium.draw_calcium(ct, heart, strokes, prior=library)
    assert not mask_of(corrected, PLAQUE) and mask_of(corrected, WALL)
    assert corrected.probability[WALL] == 100 and corrected.uncertainty[WALL] == 0
    named = dict(zip(*np.unique(corrected.samples.labels, return_counts=True), strict=True))
    assert named[NAMES.index("valve")] == 1 and named[CORONARY] == 1


def test_the_later_stroke_holds_and_marks_label_alike(library):
    ct, heart = scan()
    found = find_candidates(ct, heart)
    both = strokes_of(click("coronary", WALL), click("aorta", WALL))
    assert NAMES.index("aorta") in apply_labels(found, both, ct).piece
    assert CORONARY not in apply_labels(found, both, ct).piece
    marks = Marks(np.array([PLAQUE], np.int32), np.array([CORONARY + 1], np.uint8), NAMES)
    assert np.array_equal(
        apply_labels(found, marks, ct).piece,
        apply_labels(found, strokes_of(click("coronary", PLAQUE)), ct).piece,
    )


def test_a_box_cuts_a_piece(library):
    ct, heart = scan(seed=9)
    low, high = world((30, 30, 10)), world((34, 50, 30))
    drawn = calcium.draw_calcium(ct, heart, strokes_of(Stroke("bone", "box", (low, high))), prior=library)
    assert not drawn.mask[34].any() and drawn.mask[35:37].sum() == 18
    whole = strokes_of(Stroke("bone", "box", (world((30, 30, 10)), world((40, 50, 30)))))
    assert not calcium.draw_calcium(ct, heart, whole, prior=library).mask[30:40].any()


EMPTY = (40, 40, 12)
"""A place in the heart where nothing is bright."""


@pytest.mark.parametrize("label", NAMES)
def test_a_stroke_of_any_label_that_touches_nothing_is_named(library, caplog, label):
    ct, heart = scan()
    strokes = strokes_of(click("bone", BONE), click(label, EMPTY))
    drawn = calcium.draw_calcium(ct, heart, strokes, prior=library)
    assert f"stroke 2 ({label}, point at {list(world(EMPTY))} mm) touches no bright piece" in caplog.text
    assert "130 HU" in caplog.text and "stroke 1" not in caplog.text
    assert drawn.tally.missed == 1


def test_a_painted_spot_that_touches_nothing_is_named(library, caplog):
    ct, heart = scan()
    places, labels = [PLAQUE, EMPTY, WALL], [CORONARY + 1, CORONARY + 1, NAMES.index("aorta") + 1]
    marks = Marks(np.array(places, np.int32), np.array(labels, np.uint8), NAMES)
    drawn = calcium.draw_calcium(ct, heart, marks, prior=library)
    x, y, z = world(EMPTY)
    assert f"the painted spot of coronary at ({x:g}, {y:g}, {z:g}) mm touches no bright piece" in caplog.text
    assert drawn.tally.missed == 1


def test_a_stroke_that_later_ones_overrule_is_named(library, caplog):
    ct, heart = scan()
    box = Stroke("noise", "box", (world((20, 20, 4)), world((60, 60, 34))))
    calcium.draw_calcium(ct, heart, strokes_of(click("coronary", WALL), click("aorta", WALL)), prior=library)
    assert "stroke 1 (coronary" in caplog.text and "does not hold" in caplog.text
    caplog.clear()
    calcium.draw_calcium(ct, heart, strokes_of(box, click("coronary", PLAQUE)), prior=library)
    assert "does not hold" not in caplog.text
    with pytest.raises(InputError, match=r"stroke 1 \(coronary.* does not hold.*\"none\": true"):
        calcium.draw_calcium(ct, heart, strokes_of(click("coronary", PLAQUE), box), prior=library)


def test_without_other_scans_unlabelled_pieces_are_not_drawn():
    ct, heart = scan()
    drawn = calcium.draw_calcium(ct, heart, strokes_of(click("coronary", PLAQUE)))
    assert mask_of(drawn, PLAQUE) and drawn.mask.sum() == 27
    assert drawn.forest is None
    assert drawn.tally == CalciumTally(
        pieces=1, mm3=54.0, unreviewed=0, unreviewed_at_mm=(), left_out=2, missed=0
    )


@pytest.mark.parametrize(
    ("strokes", "words"),
    [
        (strokes_of(click("bone", BONE)), "labels: bone.*other scans' strokes label nothing"),
        (strokes_of(click("bone", BONE), click("aorta", WALL)), "labels: aorta, bone"),
        (strokes_of(click("coronary", EMPTY)), r"stroke 1 \(coronary.*touches no bright piece"),
        (None, "strokes label nothing"),
    ],
    ids=["one kind", "two kinds that are rare", "nothing but a miss", "no strokes"],
)
def test_too_few_labels_are_refused_with_what_there_is(strokes, words):
    ct, heart = scan()
    with pytest.raises(InputError, match=words):
        calcium.draw_calcium(ct, heart, strokes)


def test_a_library_without_coronary_calcium_names_its_kinds(library):
    bones = np.flatnonzero(library.labels != CORONARY)[:4]
    few = Samples(library.features[bones], library.labels[bones], library.cases[bones], FEATURES, NAMES)
    ct, heart = scan()
    with pytest.raises(InputError, match="strokes label 2 aorta, 2 bone in 2 scans; at least 5 coronary"):
        calcium.draw_calcium(ct, heart, strokes_of(click("bone", BONE)), prior=few)
    with pytest.raises(InputError, match="The strokes label only 2 aorta, 2 bone in 2 scans"):
        calcium.fit_candidate_forest(few)


def test_a_heart_mask_that_does_not_fit_is_refused():
    ct, heart = scan()
    with pytest.raises(InputError, match="shape"):
        calcium.draw_calcium(ct, heart[1:], strokes_of(click("coronary", PLAQUE)))
    with pytest.raises(InputError, match="empty"):
        calcium.draw_calcium(ct, np.zeros_like(heart), strokes_of(click("coronary", PLAQUE)))


def test_no_calcium_overrules_the_forest_and_is_learned(library):
    ct, heart = scan(seed=77)
    assert calcium.draw_calcium(ct, heart, None, prior=library).mask.any()
    for strokes in (Strokes("calcium", (), none=True), Strokes("calcium", (click("bone", BONE),), none=True)):
        drawn = calcium.draw_calcium(ct, heart, strokes, prior=library)
        assert not drawn.mask.any() and not drawn.probability.any() and not drawn.uncertainty.any()
        assert len(drawn.samples.labels) == 3 and CORONARY not in drawn.samples.labels
        assert calcium.draw_calcium(ct, heart, strokes).mask.sum() == 0


@pytest.mark.parametrize("away", [0, 3, 7], ids=["in the heart", "beside it", "away from it"])
def test_unlabelled_pieces_are_drawn_near_the_heart_only(library, caplog, away):
    """By a forest that takes everything for coronary: a plaque, and one that goes on outwards as bones do."""
    ct, heart = scan()
    dark = np.minimum(ct.array, 100)
    y = int(np.flatnonzero(heart[40, :, 20])[-1]) + away
    dark[39:42, y - 1 : y + 1, 19:22] = 500
    all_coronary = dataclasses.replace(library, labels=np.full_like(library.labels, CORONARY))
    unlike = dataclasses.replace(library, features=np.full_like(library.features, -32_000))
    every = join_samples([all_coronary, unlike])
    drawn = calcium.draw_calcium(Volume(dark, ct.affine), heart, None, prior=every)
    assert mask_of(drawn, (40, y, 20)) == (away < 7)
    dark[40, y : y + 20, 20] = 500
    bone = Volume(dark, ct.affine)
    assert not calcium.draw_calcium(bone, heart, None, prior=every).mask.any(), "it goes on outside"
    clicked = calcium.draw_calcium(bone, heart, strokes_of(click("coronary", (40, y, 20))), prior=every)
    assert mask_of(clicked, (40, y, 20)), "what is named is drawn"
    assert "stroke 1 (coronary" in caplog.text and "as bones do" in caplog.text


def test_unreviewed_pieces_are_counted(library):
    ct, heart = scan(seed=77)
    tally = calcium.draw_calcium(ct, heart, strokes_of(click("coronary", WALL)), prior=library).tally
    assert (tally.pieces, tally.mm3, tally.unreviewed, tally.left_out, tally.missed) == (2, 90.0, 1, 1, 0)
    assert tally.unreviewed_at_mm == (world(PLAQUE),)


def test_a_scan_without_bright_pieces_has_an_empty_mask(library):
    ct, heart = scan()
    dark = Volume(np.minimum(ct.array, 100), ct.affine)
    drawn = calcium.draw_calcium(dark, heart, None, prior=library)
    assert not drawn.mask.any() and drawn.mask.shape == ct.shape and not len(drawn.samples.labels)


def test_unchecked_specks_are_not_learned_as_coronary(library):
    ct, heart = scan()
    hu = ct.array.copy()
    hu[55, 45:48, 20] = 140
    found = find_candidates(Volume(hu, ct.affine), heart)
    classified = calcium.classify_candidates(
        found, apply_labels(found, None, ct), forest=calcium.fit_candidate_forest(library)
    )
    every = np.full(found.count, CORONARY, np.uint8)
    table = calcium.samples_of(
        calcium.ClassifiedCandidates(found, classified.user_labels, classified.probability, every, None), "x"
    )
    assert found.count == 4 and len(table.labels) == 3


def test_a_box_around_a_thousand_flecks_does_not_drown_other_samples(library):
    ct, heart = scan()
    hu = ct.array.copy()
    for level in range(12, 28, 4):
        for x, z in ((22, level), (22, level + 1), (23, level)):
            flecks = hu[x : x + 36 : 3, 24:56:2, z]
            np.maximum(flecks, 170, out=flecks)
    found = find_candidates(Volume(hu, ct.affine), heart)
    box = Stroke("noise", "box", (world((10, 10, 4)), world((70, 70, 35))))
    labels = apply_labels(found, strokes_of(box, click("coronary", PLAQUE)), ct)
    table = calcium.samples_of(
        calcium.classify_candidates(found, labels, forest=calcium.fit_candidate_forest(library)), "x"
    )
    assert (labels.piece == NAMES.index("noise")).sum() > 400
    assert len(table.labels) <= 2 * calcium.TRAINING_PIECES + calcium.THINNED_PIECES
    assert CORONARY in table.labels


def test_rare_kinds_are_learned_as_other(library):
    few = Samples(library.features, library.labels.copy(), library.cases, FEATURES, NAMES)
    bones = np.flatnonzero(few.labels == NAMES.index("bone"))
    few.labels[bones[2:]] = OTHER
    chances = calcium.fit_candidate_forest(few).probability(few.features)
    assert not chances[:, NAMES.index("bone")].any() and chances[bones, OTHER].min() > 0.5


DRAW = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
from test_calcium import scan
from coronet.annotation.candidates import find_candidates
ct, heart = scan(noise=98, seed=5)
found = find_candidates(ct, heart)
print(found.count, hashlib.sha256(found.features.tobytes() + found.labels.tobytes()).hexdigest())
"""


@pytest.mark.slow
def test_features_are_the_same_at_every_level_of_dispatch():
    folder = os.path.dirname(__file__)
    outputs = outputs_at_dispatch_levels(DRAW, ([folder], [folder]))
    ct, heart = scan(noise=98, seed=5)
    found = find_candidates(ct, heart)
    digest = hashlib.sha256(found.features.tobytes() + found.labels.tobytes()).hexdigest()
    assert outputs == [f"{found.count} {digest}\n"] * 2 and found.count > 20
