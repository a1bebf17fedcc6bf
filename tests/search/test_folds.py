"""Inner folds: training patients only, each patient on one side."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from coronet import config
from coronet.dataset.split import STRATA, TRAINING_ONLY, Member, Split
from coronet.errors import SearchError
from coronet.search.folds import inner_folds

SPACE = dataclasses.replace(
    config.load_params(Path(__file__).resolve().parents[2] / "params.yaml").search, folds=4, folds_used=4
)


def cohort(patients: int = 30) -> Split:
    """Two scans of each patient; every third does not train."""
    parts = ("train", "train", "tune", "train", "train", "test")
    return Split(
        1,
        tuple(
            Member(f"case-{number}-{scan}", f"p{number}", parts[number % 6], STRATA[number % 4])
            for number in range(patients)
            for scan in "ab"
        ),
    )


def test_folds_hold_training_patients_alone_and_each_on_one_side():
    split = cohort()
    usable = set(split.cases("train"))
    folds = inner_folds(split, usable, SPACE)
    assert len(folds) == 4
    for fold in folds:
        assert {*fold.train, *fold.held_out} == usable
        assert not set(fold.split.patients("train")) & set(fold.split.patients("tune"))
    out = [patient for fold in folds for patient in fold.split.patients("tune")]
    assert sorted(out) == sorted(split.patients("train"))


def test_every_fold_holds_out_some_of_each_stratum():
    split = cohort(96)
    for fold in inner_folds(split, set(split.cases("train")), SPACE):
        counts = [sum(m.stratum == s for m in fold.split.members if m.part == "tune") for s in STRATA]
        assert min(counts) >= 2
        assert max(counts) - min(counts) <= 4


def test_drawn_calcium_is_never_held_out():
    split = cohort()
    drawn = Member("drawn", "donor", "train", TRAINING_ONLY)
    split = dataclasses.replace(split, members=(*split.members, drawn))
    folds = inner_folds(split, set(split.cases("train")), SPACE)
    assert all("drawn" in fold.train for fold in folds)
    plain = inner_folds(cohort(), set(split.cases("train")), SPACE)
    assert [fold.held_out for fold in folds] == [fold.held_out for fold in plain]


def test_cases_that_are_not_prepared_are_left_out():
    split = cohort()
    usable = set(split.cases("train")[4:])
    (fold, *_) = inner_folds(split, usable, SPACE)
    assert {*fold.train, *fold.held_out} == usable


def test_folds_do_not_depend_on_the_order_of_cases():
    split = cohort()
    turned = dataclasses.replace(split, members=split.members[::-1])
    usable = set(split.cases("train"))
    ours, theirs = (inner_folds(item, usable, SPACE) for item in (split, turned))
    assert ours == theirs


def test_too_few_patients_are_refused():
    split = cohort(4)
    with pytest.raises(SearchError, match="3 training patients cannot be dealt into 4 folds"):
        inner_folds(split, set(split.cases("train")), SPACE)
