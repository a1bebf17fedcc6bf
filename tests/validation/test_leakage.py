from __future__ import annotations

import dataclasses

import pytest

from coronet import validation
from coronet.config import SplitParams
from coronet.dataset.case_table import describe_cases
from coronet.dataset.split import Member, Split, make_split
from coronet.errors import GateFailed

pytestmark = pytest.mark.slow


@pytest.fixture
def made(cohort):
    """Table and split of the sound cohort."""
    table = describe_cases(cohort.data, workers=1)
    return table, make_split(table, SplitParams(tune=0.2, test=0.3, seed=1))


def moved(split: Split, case: str, **changes: str) -> Split:
    members = tuple(
        dataclasses.replace(member, **changes) if member.case == case else member for member in split.members
    )
    return dataclasses.replace(split, members=members)


def test_a_sound_split_passes(made, limits):
    validation.check_leakage(*made, limits)


def test_one_patient_in_two_parts(cohort, limits):
    cohort.write("case1", patient="patient-case0")
    table = describe_cases(cohort.data, workers=1)
    split = make_split(table, SplitParams(tune=0.2, test=0.3, seed=1))
    leaking = moved(split, "case1", part="test" if split.part_of("case0") == "train" else "train")
    validation.check_leakage(table, split, limits)
    with pytest.raises(GateFailed, match="case0: its patient is in more than one part"):
        validation.check_leakage(table, leaking, limits)


def test_augmented_twin_of_a_test_case(cohort, drawn, limits):
    test_case = "case2"
    twin = drawn[test_case].ct
    cohort.write("twin", ct=twin.with_array(twin.array[::-1] + 3), heart=None, calcium=None)
    cohort.write("twin", ct=twin.with_array(twin.array[::-1] + 3))
    table = describe_cases(cohort.data, workers=1)
    parts = {case: "train" for case in table["case"]} | {test_case: "test", "case3": "tune"}
    members = tuple(Member(case, f"patient-{case}", part, "low") for case, part in sorted(parts.items()))
    with pytest.raises(GateFailed, match=f"twin: is a copy of {test_case}, which is in another part"):
        validation.check_leakage(table, Split(1, members), limits)


def test_a_split_of_other_data(made, limits):
    table, split = made
    fewer = dataclasses.replace(split, members=split.members[1:])
    with pytest.raises(GateFailed, match="case0: is missing from the split"):
        validation.check_leakage(table, fewer, limits)
    with pytest.raises(GateFailed, match="case0: has another patient"):
        validation.check_leakage(table, moved(split, "case0", patient="someone"), limits)


def test_nothing_is_learned_from_other_parts(made):
    _, split = made
    validation.check_parts(split, split.cases("train"))
    validation.check_parts(split, split.cases("train") + split.cases("tune"), parts=("train", "tune"))
    test_case = split.cases("test")[0]
    with pytest.raises(GateFailed, match=test_case):
        validation.check_parts(split, [*split.cases("train"), test_case])
    with pytest.raises(GateFailed, match="stranger"):
        validation.check_parts(split, ["stranger"])


def test_a_shared_patient_stops_learning(made):
    _, split = made
    train, test = split.cases("train")[0], split.patients("test")[0]
    with pytest.raises(GateFailed, match=f"patient {test} is in train and in another part"):
        validation.check_parts(moved(split, train, patient=test), split.cases("train"))


def test_the_report_asks_about_parts_too(made, limits, tmp_path):
    table, split = made
    report = validation.run_validation(table, limits, split=split, out=tmp_path / "validation")
    assert report.ok
    assert dict(report.parts) == {part: len(split.cases(part)) for part in ("train", "tune", "test")}
    assert "patient-in-one-part" in {rule[0] for rule in report.rules}
