from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coronet.config import SplitParams
from coronet.dataset.split import PARTS, TRAINING_ONLY, make_split, read_split, stratum, write_split
from coronet.errors import InputError

PARAMS = SplitParams(tune=0.15, test=0.25, seed=5)


def table_of(rows: list[tuple[str, str, float]], **columns: object) -> pandas.DataFrame:
    table = pandas.DataFrame(rows, columns=["case", "patient", "calcium_mm3"])
    return table.assign(**{"source": "nifti", "flags": "", "has_heart": True, "has_calcium": True, **columns})


def cohort_of(volumes: list[float]) -> pandas.DataFrame:
    return table_of([(f"case{index:03}", f"patient{index}", volume) for index, volume in enumerate(volumes)])


volumes = st.lists(st.sampled_from([0.0, 20.0, 150.0, 900.0]), min_size=3, max_size=60)


@settings(deadline=None, max_examples=40)
@given(volumes=volumes, seed=st.integers(0, 99))
def test_parts_are_a_partition_with_something_in_each(volumes, seed):
    split = make_split(cohort_of(volumes), SplitParams(tune=0.15, test=0.25, seed=seed))
    cases = [case for part in PARTS for case in split.cases(part)]
    assert sorted(cases) == [f"case{index:03}" for index in range(len(volumes))]
    assert all(split.cases(part) for part in PARTS)


@settings(deadline=None, max_examples=40)
@given(
    owners=st.lists(st.integers(0, 8), min_size=12, max_size=30).filter(lambda owners: len(set(owners)) > 2)
)
def test_no_patient_is_in_two_parts(owners):
    rows = [(f"case{index}", f"patient{owner}", 10.0 * index) for index, owner in enumerate(owners)]
    split = make_split(table_of(rows), PARAMS)
    patients = [set(split.patients(part)) for part in PARTS]
    assert sum(map(len, patients)) == len(set.union(*patients)) == len(set(owners))


@settings(deadline=None, max_examples=40)
@given(volumes=volumes, data=st.data())
def test_the_order_of_rows_does_not_matter(volumes, data):
    table = cohort_of(volumes)
    order = data.draw(st.permutations(range(len(volumes))))
    assert make_split(table.iloc[order], PARAMS) == make_split(table, PARAMS)


def test_another_patient_moves_few():
    rng = np.random.default_rng(3)
    moved = []
    for _ in range(100):
        volumes = rng.choice([0.0, 20.0, 150.0, 900.0], size=rng.integers(20, 61)).tolist()
        before = make_split(cohort_of(volumes), PARAMS)
        after = make_split(cohort_of([*volumes, 20.0]), PARAMS)
        moved.append(sum(after.part_of(member.case) != member.part for member in before.members))
    # A split by chance would move half of them.
    assert np.mean(moved) < 3 and max(moved) <= 6, moved


def test_strata_are_shared_out_in_proportion():
    split = make_split(cohort_of([0.0] * 16 + [50.0] * 8 + [200.0] * 8 + [800.0] * 8), PARAMS)
    test = [member.stratum for member in split.members if member.part == "test"]
    assert {name: test.count(name) for name in set(test)} == {"none": 4, "low": 2, "middle": 2, "high": 2}
    assert [len(split.cases(part)) for part in PARTS] == [24, 6, 10]


def test_a_patient_counts_by_the_fullest_scan():
    rows = [("a1", "a", 0.0), ("a2", "a", 500.0), ("b", "b", 0.0), ("c", "c", 0.0)]
    split = make_split(table_of(rows), PARAMS)
    assert {member.stratum for member in split.members if member.patient == "a"} == {"high"}


@pytest.mark.parametrize(("volume", "name"), [(0, "none"), (0.1, "low"), (100.1, "middle"), (301, "high")])
def test_stratum(volume, name):
    assert stratum(volume) == name


def test_seed_decides():
    table = cohort_of([0.0] * 40)
    other = SplitParams(tune=0.15, test=0.25, seed=6)
    assert make_split(table, PARAMS) == make_split(table, PARAMS) != make_split(table, other)


def test_what_cannot_train_is_left_out():
    table = cohort_of([0.0] * 6)
    table.loc[0, "flags"] = "contrast thick_slices"
    table.loc[1, "flags"] = "thick_slices"
    table.loc[2, "has_calcium"] = False
    split = make_split(table, PARAMS)
    assert split.excluded == (("case000", "is flagged contrast"), ("case002", "has no calcium mask"))
    assert split.part_of("case001") in PARTS
    with pytest.raises(InputError, match="case000 is in no part of the split: it is flagged contrast"):
        split.part_of("case000")


def test_patients_with_drawn_calcium_train_and_move_nobody():
    table = cohort_of([0.0, 10.0, 200.0, 900.0] * 4)
    drawn = table_of([("drawn-1", "donor", 900.0), ("drawn-2", "donor", 0.0)], source="deposited")
    # a plain scan of such a patient trains too
    plain = table_of([("plain", "donor", 0.0)])
    split = make_split(pandas.concat([table, drawn, plain], ignore_index=True), PARAMS)
    donors = [member for member in split.members if member.patient == "donor"]
    assert len(donors) == 3
    assert {(member.part, member.stratum) for member in donors} == {("train", TRAINING_ONLY)}
    others = tuple(member for member in split.members if member.patient != "donor")
    assert others == make_split(table, PARAMS).members


def test_too_few_patients():
    with pytest.raises(InputError, match="2 patients"):
        make_split(cohort_of([0.0, 1.0]), PARAMS)


def test_what_was_written_is_read(tmp_path: Path):
    table = cohort_of([0.0] * 6)
    table.loc[0, "flags"] = "contrast"
    split = make_split(table, PARAMS)
    write_split(tmp_path / "split.json", split)
    assert read_split(tmp_path / "split.json") == split


@pytest.mark.parametrize("text", ["", "{}", '{"seed": 1, "cases": {"a": {"part": 3}}, "excluded": {}}', "[]"])
def test_a_damaged_split_is_refused(tmp_path: Path, text: str):
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(InputError, match=r"split\.json"):
        read_split(tmp_path / "split.json")


def test_an_unknown_part_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="train, tune, test"):
        make_split(cohort_of([0.0] * 6), PARAMS).cases("validation")
