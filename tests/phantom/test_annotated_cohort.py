"""The simulated reader, and cohorts with simulated annotations."""

from __future__ import annotations

import numpy as np
import pytest

from coronet.annotation import calcium
from coronet.annotation.candidates import find_candidates
from coronet.annotation.named_pieces import apply_labels
from coronet.annotation.stroke_voxels import mark_strokes, read_strokes
from coronet.annotation.strokes import STROKE_LABELS, Strokes
from coronet.dataset.cases import EXACT, GIVEN, find_case, find_cases, find_reference, load_mask
from coronet.errors import InputError
from coronet.files import read_json
from coronet.io.volume import read_nifti
from coronet.phantom import simulated_reader
from coronet.phantom.annotated_cohort import make_cohort, record_path
from coronet.phantom.patients import Window
from coronet.phantom.reader_sessions import BONE_MM3, true_labels
from worker_threads import worker_threads

CHEST = Window(matrix=112, field_mm=360.0, below_mm=(20.0, 30.0), length_mm=(180.0, 190.0))
"""Coarse, but with lungs around the heart."""
SEED = 3


@pytest.fixture(scope="module")
def phantom(small_case):
    """A case with calcium and with other bright pieces."""
    cases = map(small_case, (1, 2, 4, 5))
    return next(case for case in cases if case.calcium.array.any() and case.truth["confounders"])


@pytest.fixture(scope="module")
def classified(phantom):
    found = find_candidates(phantom.ct, phantom.heart.array)
    return calcium.classify_candidates(found, apply_labels(found, None, phantom.ct), forest=None)


@pytest.fixture(scope="module")
def truth(phantom, classified):
    return true_labels(classified.candidates, phantom.truth, phantom.calcium.array)


def test_the_reader_begins_with_four_lines_that_are_not_the_truth(phantom):
    strokes = simulated_reader.simulated_heart_strokes(phantom.ct, phantom.heart.array, seed=1)
    assert len(strokes.strokes) == 4
    marks = mark_strokes(strokes, phantom.ct)
    truth = phantom.heart.array > 0
    inside = truth[tuple(marks.of("heart").T)]
    outside = truth[tuple(marks.of("background").T)]
    assert inside.mean() > 0.95 and outside.mean() < 0.05
    assert len(marks.label) < 0.01 * truth.sum(), "a few lines, and no filled slice"
    assert strokes == simulated_reader.simulated_heart_strokes(phantom.ct, phantom.heart.array, seed=1)
    assert strokes != simulated_reader.simulated_heart_strokes(phantom.ct, phantom.heart.array, seed=2)


def test_corrections_run_through_what_is_drawn_wrongly(phantom):
    truth = phantom.heart.array > 0
    step = round(15 / phantom.ct.spacing_mm[0])
    drawn = np.roll(truth, step, axis=0)
    lines = simulated_reader.simulated_heart_corrections(phantom.ct, truth, drawn, seed=1, review=0)
    assert len(lines) == simulated_reader.LINES_A_REVIEW
    marks = mark_strokes(Strokes("heart", lines), phantom.ct)
    for label, wrong in (("heart", truth & ~drawn), ("background", drawn & ~truth)):
        assert wrong[tuple(marks.of(label).T)].mean() > 0.6, "a shaking hand, but the right patch"
    middles = np.array([np.mean(line.points_mm, axis=0) for line in lines])
    gaps = np.linalg.norm(middles[:, None] - middles, axis=2)[np.triu_indices(len(lines), 1)]
    assert gaps.min() > simulated_reader.APART_MM - 2 * simulated_reader.HAND_MOST_MM
    assert lines != simulated_reader.simulated_heart_corrections(phantom.ct, truth, drawn, seed=1, review=1)


def test_a_heart_that_is_right_needs_no_correction(phantom):
    truth = phantom.heart.array > 0
    assert simulated_reader.simulated_heart_corrections(phantom.ct, truth, truth, seed=1, review=0) == ()


def test_the_reader_clicks_on_the_most_visible_wrong_piece(phantom, classified, truth):
    clicks = simulated_reader.simulated_calcium_strokes(phantom.ct, classified, truth, seed=1, most=2)
    assert clicks is not None and 1 <= len(clicks.strokes) <= 2
    assert {stroke.label for stroke in clicks.strokes} <= set(STROKE_LABELS["calcium"])
    labels = apply_labels(classified.candidates, clicks, phantom.ct)
    named = np.flatnonzero(labels.piece != calcium.UNLABELLED)
    largest = max(
        (at for at, name in enumerate(truth) if name == "coronary"),
        key=lambda at: calcium.visibility(classified.candidates)[at],
    )
    assert largest in named and labels.piece[largest] == calcium.CORONARY


def test_nothing_is_clicked_where_all_is_right(phantom, classified, truth):
    found = classified.candidates
    right = np.array([calcium.NAMES.index(name) for name in truth], np.uint8)
    correct = calcium.ClassifiedCandidates(found, classified.user_labels, classified.probability, right, None)
    clicked = [
        simulated_reader.simulated_calcium_strokes(phantom.ct, correct, truth, seed=seed)
        for seed in range(12)
    ]
    mistakes = [stroke for clicks in clicked if clicks for stroke in clicks.strokes]
    assert {stroke.label for stroke in mistakes} <= {"coronary"}
    kinds = [name for name in truth if name in simulated_reader.MISTAKEN]
    assert len(mistakes) <= 3 + 12 * 0.12 * len(kinds)


def test_small_faint_pieces_are_overlooked(phantom, classified, truth):
    visible = calcium.visibility(classified.candidates)
    wrong = np.flatnonzero(np.array(truth) == "coronary")
    faint = wrong[visible[wrong] < simulated_reader.NEVER_OVERLOOKED / 3]
    clicked = np.zeros(classified.candidates.count, int)
    for seed in range(12):
        clicks = simulated_reader.simulated_calcium_strokes(phantom.ct, classified, truth, seed=seed, most=99)
        labels = apply_labels(classified.candidates, clicks, phantom.ct) if clicks else classified.user_labels
        clicked += labels.piece != calcium.UNLABELLED
    sure = wrong[visible[wrong] > simulated_reader.NEVER_OVERLOOKED]
    assert (clicked[sure] == 12).all() and len(sure)
    assert (clicked[faint] < 10).all()


def test_the_reader_boxes_flecks_that_are_too_many_to_click(phantom):
    hu, heart = phantom.ct.array.copy(), phantom.heart.array > 0
    rng = np.random.default_rng(0)
    dark = np.argwhere(heart & (hu < 100) & (phantom.calcium.array == 0))
    for x, y, z in dark[rng.integers(len(dark), size=40)]:
        fleck = hu[x : x + 3, y : y + 3, z : z + 2]
        np.maximum(fleck, 260, out=fleck)
    noisy = phantom.ct.with_array(hu)
    found = find_candidates(noisy, phantom.heart.array)
    everything = np.full(found.count, calcium.CORONARY, np.uint8)
    labels = apply_labels(found, None, noisy)
    drawn = calcium.ClassifiedCandidates(
        found, labels, np.ones((found.count, 7), np.float32), everything, None
    )
    names = true_labels(found, phantom.truth, phantom.calcium.array)
    strokes = simulated_reader.simulated_calcium_strokes(noisy, drawn, names, seed=1)
    box, *clicks = strokes.strokes
    assert (box.kind, box.label) == ("box", "noise")
    assert clicks and {(click.kind, click.label) for click in clicks} == {("point", "coronary")}
    after = apply_labels(found, strokes, noisy)
    truth = np.array(names)
    visible = calcium.visibility(found)
    flecks = (truth == "noise") & (visible > simulated_reader.NEVER_OVERLOOKED)
    plaques = (truth == "coronary") & (visible > simulated_reader.NEVER_OVERLOOKED)
    assert flecks.sum() > simulated_reader.MOST_CLICKS and plaques.any()
    assert (after.piece[flecks] == calcium.NAMES.index("noise")).mean() > 0.8, "some are taken for coronary"
    assert (after.piece[plaques] != calcium.NAMES.index("noise")).all()


def test_bone_is_no_clip_because_one_lies_near(phantom, classified):
    found = classified.candidates
    largest = int(found.volume_mm3.argmax())
    centre = [float(mm) for mm in found.centre_mm[largest]]
    named = {}
    for volume_mm3 in (1.0, float(found.volume_mm3[largest])):
        deposit = {"kind": "clip", "centre_mm": centre, "volume_mm3": volume_mm3}
        nothing = np.zeros(phantom.ct.shape, np.uint8)
        named[volume_mm3 > 1] = true_labels(found, {"confounders": [deposit]}, nothing)[largest]
    assert found.volume_mm3[largest] > BONE_MM3
    assert named == {False: "bone", True: "metal"}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    data = tmp_path_factory.mktemp("drawn") / "data"
    with worker_threads():
        make_cohort(data, masks="forest", cases=2, seed=SEED, workers=1, window=CHEST)
    return data


def content(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path.relative_to(folder): path.read_bytes() for path in files}


@pytest.mark.slow
def test_a_drawn_cohort_has_masks_references_strokes_and_records(drawn):
    for case in find_cases(drawn):
        ct = read_nifti(case.ct)
        heart, exact = find_reference(case, "heart"), find_reference(case, "calcium")
        assert heart.kind == exact.kind == EXACT
        mask, truth = load_mask(case.heart, ct) > 0, load_mask(heart.path, ct) > 0
        shared = 2 * np.count_nonzero(mask & truth) / (mask.sum() + truth.sum())
        assert 0.6 < shared < 1.0
        assert set(np.unique(load_mask(case.calcium, ct))) <= {0, 1}
        strokes = read_strokes(drawn / "annotations" / case.id / "heart.json", ct, target="heart")
        record = read_json(record_path(drawn, case.id))
        assert record["strokes"]["heart"] == len(strokes.strokes) == 10


@pytest.mark.slow
def test_what_is_whole_is_kept_and_what_is_broken_is_drawn_again(drawn):
    before = content(drawn)
    case, kept = find_case(drawn, "phantom-0002"), find_case(drawn, "phantom-0001")
    stamp = kept.heart.stat().st_mtime_ns
    case.heart.write_bytes(b"broken")
    make_cohort(drawn, masks="forest", cases=2, seed=SEED, workers=2, window=CHEST)
    assert kept.heart.stat().st_mtime_ns == stamp
    assert content(drawn) == before, "the same bytes, with any number of workers"


@pytest.mark.slow
def test_exact_masks_need_no_reference_beside_them(drawn):
    with worker_threads():
        make_cohort(drawn, masks="exact", cases=2, seed=SEED, workers=1, window=CHEST)
    case = find_case(drawn, "phantom-0001")
    assert find_reference(case, "heart").kind == GIVEN
    assert case.heart.read_bytes() == (drawn / "truth" / "phantom-0001_heart.nii.gz").read_bytes()


def test_there_are_no_other_masks(tmp_path):
    with pytest.raises(InputError, match="exact or forest"):
        make_cohort(tmp_path, masks="guess", cases=1, seed=1)
