"""Courses of the arteries, cases and cohorts, on a phantom in the part of a real scan."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.spatial import cKDTree

from coronet.config import DepositParams, SplitParams
from coronet.dataset.case_table import describe_cases
from coronet.dataset.cases import find_cases, write_facts
from coronet.dataset.split import TRAINING_ONLY, make_split
from coronet.errors import InputError
from coronet.files import read_json
from coronet.io.scan_facts import DEPOSITED
from coronet.io.volume import read_nifti, write_nifti
from coronet.phantom.lesions import VESSEL_TRAITS
from coronet.real_backgrounds.deposited_cases import make_variant, study_background
from coronet.real_backgrounds.deposited_cohort import write_deposited_cohort

pytestmark = pytest.mark.slow  # laying phantoms over a heart takes ten seconds
NEAR_MM = {"LM": 3.0, "LAD": 3.0, "LCX": 4.0, "RCA": 6.0}
"""Median distance of a found course to the true one."""


def test_courses_lie_near_the_true_ones(studied, chest):
    for tree in studied.trees:
        assert set(tree.courses) == set(VESSEL_TRAITS)
        for name, course in tree.courses.items():
            gaps, _ = cKDTree(chest.anatomy.coronaries[name].points).query(course.tube.points)
            assert np.median(gaps) < NEAR_MM[name], name


def test_branches_begin_where_the_left_main_artery_ends(studied):
    for tree in studied.trees:
        end = tree.courses["LM"].tube.points[-1]
        for name in ("LAD", "LCX"):
            assert np.linalg.norm(tree.courses[name].tube.points[0] - end) < 0.1


def test_courses_stay_at_the_heart(studied, chest):
    away = cKDTree(np.argwhere(chest.heart.array) @ chest.ct.affine[:3, :3].T + chest.ct.affine[:3, 3])
    for tree in studied.trees:
        for name, course in tree.courses.items():
            gaps, _ = away.query(course.tube.points)
            assert np.quantile(gaps, 0.95) < 6.0, name


def test_the_mask_holds_what_was_drawn(studied):
    case = make_variant(studied, 0, seed=7, burdens=("high",))
    before, after = studied.background.ct.array, case.ct.array
    labels = case.calcium.array
    assert labels.any()
    assert set(np.unique(labels)) <= {0, *(vessel.label for vessel in VESSEL_TRAITS.values())}
    inside = labels > 0
    assert (after[inside] >= 130).all()
    assert (after.astype(int) - before)[inside].min() >= 39
    counted = sum(lesion["voxels"] for lesion in case.truth["lesions"])
    assert counted == np.count_nonzero(inside)
    # far from the plaques the scan is what it was
    assert np.count_nonzero(after != before) < 0.02 * after.size


def test_no_burden_leaves_the_scan_alone(studied):
    case = make_variant(studied, 3, seed=7, burdens=("none",))
    assert np.array_equal(case.ct.array, studied.background.ct.array)
    assert not case.calcium.array.any()
    assert case.truth["lesions"] == []


def test_extreme_burdens_are_wild(studied):
    case = make_variant(studied, 0, seed=7, burdens=("extreme",), ranges="mixed")
    assert case.truth["ranges"] == "wild"
    assert sum(lesion["volume_mm3"] for lesion in case.truth["lesions"]) > 800
    assert np.count_nonzero(case.calcium.array) * case.ct.voxel_mm3 > 800


def test_the_same_seed_gives_the_same_case(studied):
    once, again = (make_variant(studied, 1, seed=7, burdens=("moderate",)) for _ in range(2))
    assert np.array_equal(once.ct.array, again.ct.array)
    assert once.truth == again.truth
    other = make_variant(studied, 2, seed=7, burdens=("moderate",))
    assert not np.array_equal(once.ct.array, other.ct.array)
    study = study_background(studied.background, seed=7)
    assert study.spread == studied.spread
    for tree, same in zip(studied.trees, study.trees, strict=True):
        for name, course in tree.courses.items():
            assert np.array_equal(course.tube.points, same.courses[name].tube.points), name


@pytest.fixture(scope="module")
def cohort(shelf, tmp_path_factory):
    """Folder of a cohort of deposited cases, and what its maker said."""
    data = tmp_path_factory.mktemp("data")
    params = DepositParams(variants=2, burdens=("high", "low"), ranges="realistic", seed=7)
    return data, params, write_deposited_cohort([shelf], data, params, workers=1)


def test_cases_on_disk(cohort):
    data, _, found = cohort
    assert found.cases == ("chest-d01", "chest-d02")
    for case in find_cases(data):
        assert (case.facts.source, case.facts.patient) == (DEPOSITED, "background-chest")
        assert case.facts.attribution == "Drawn for a test. (CC BY 4.0)"
        truth = read_json(data / "truth" / f"{case.id}.json")
        assert truth["background"]["licence"] == "CC BY 4.0"
        assert truth["background"]["content_sha256"] == case.facts.drawn_into
        calcium, ct = read_nifti(case.calcium, np.uint8), read_nifti(case.ct)
        assert calcium.same_grid(ct)
        assert (ct.array[calcium.array > 0] >= 130).all()


def test_whole_cases_are_kept_and_others_removed(cohort, shelf):
    data, params, _ = cohort
    path = data / "ct" / "chest-d01.nii.gz"
    before = path.stat().st_mtime_ns
    again = write_deposited_cohort([shelf], data, params, workers=1)
    assert (again.made, path.stat().st_mtime_ns) == (0, before)
    foreign = find_cases(data)[0].facts
    write_facts(data, "gone-d01", foreign)
    write_nifti(data / "ct" / "gone-d01.nii.gz", read_nifti(path), level=1)
    assert write_deposited_cohort([shelf], data, params, workers=1).removed == ("gone-d01",)
    assert not (data / "ct" / "gone-d01.nii.gz").exists()


def test_a_case_of_that_name_is_not_overwritten(cohort, shelf, tmp_path):
    data, params, _ = cohort
    case = find_cases(data)[0]
    write_facts(tmp_path, case.id, dataclasses.replace(case.facts, source="nifti"))
    write_nifti(tmp_path / "ct" / f"{case.id}.nii.gz", read_nifti(case.ct), level=1)
    with pytest.raises(InputError, match="no deposited one"):
        write_deposited_cohort([shelf], tmp_path, params, workers=1)


def test_deposited_cases_train_only(cohort):
    data, _, _ = cohort
    table = describe_cases(data, workers=1)
    assert not table["flags"].any()
    others = [
        table.iloc[[0]].assign(case=f"other-{n}", patient=f"p{n}", source="nifti", calcium_mm3=float(n))
        for n in range(8)
    ]
    import pandas

    split = make_split(pandas.concat([table, *others]), SplitParams(tune=0.3, test=0.3, seed=1))
    drawn = [member for member in split.members if member.patient == "background-chest"]
    assert {(member.part, member.stratum) for member in drawn} == {("train", TRAINING_ONLY)}
    assert split.cases("tune")
    assert split.cases("test")
