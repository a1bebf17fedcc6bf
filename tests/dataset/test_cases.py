"""Cases are found by name, and names cannot lead out of the folder."""

from __future__ import annotations

import numpy as np
import pytest

from coronet.dataset import cases
from coronet.errors import InputError
from coronet.files import sha256_file, write_json
from coronet.io.volume import Volume, write_nifti


@pytest.fixture
def data(tmp_path):
    volume = Volume(np.zeros((3, 3, 3), np.int16), np.eye(4))
    for name, patient in (("b-2", "p1"), ("a-1", "p1")):
        write_nifti(cases.scan_path(tmp_path, name), volume)
        cases.write_facts(
            tmp_path, name, cases.ScanFacts(patient=patient, source="phantom", flags=("contrast",))
        )
    write_nifti(cases.mask_path(tmp_path, "a-1", "heart"), volume)
    return tmp_path


def test_cases_are_sorted_and_know_their_masks(data):
    first, second = cases.find_cases(data)
    assert (first.id, second.id) == ("a-1", "b-2")
    assert first.heart is not None and first.calcium is None
    assert first.facts == cases.ScanFacts(patient="p1", source="phantom", flags=("contrast",))


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "x" * 65, "naïve", "a b"])
def test_names_that_are_no_file_names_are_refused(name):
    with pytest.raises(InputError, match="cannot name a case"):
        cases.check_case_id(name)


def test_empty_folder_names_the_verbs_that_mend_it(tmp_path):
    with pytest.raises(InputError, match="coronet data import"):
        cases.find_cases(tmp_path)


def test_scan_without_facts_is_named(data):
    (data / "ct" / "b-2.json").unlink()
    with pytest.raises(InputError, match=r"b-2\.json is absent"):
        cases.find_cases(data)


def test_a_better_mask_is_the_reference_only_of_the_scan_it_is_bound_to(tmp_path, caplog):
    volume = Volume(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4))
    cases.write_facts(tmp_path, "a", cases.ScanFacts(patient="p", source="nifti"))
    write_nifti(cases.scan_path(tmp_path, "a"), volume)
    assert cases.find_reference(cases.find_case(tmp_path, "a"), "heart") is None
    mask = volume.with_array(np.ones(volume.shape, np.uint8))
    write_nifti(cases.mask_path(tmp_path, "a", "heart"), mask)
    case = cases.find_case(tmp_path, "a")
    assert cases.find_reference(case, "heart") == cases.Reference(case.heart, cases.GIVEN)
    better = cases.reference_path(tmp_path, "a", "heart")
    write_nifti(better, mask)
    assert cases.find_reference(case, "heart").kind == cases.GIVEN, "it is bound to no scan"
    write_json(cases.binding_path(tmp_path, "a"), {"scan_sha256": sha256_file(case.ct)})
    assert cases.find_reference(case, "heart") == cases.Reference(better, cases.EXACT)
    assert cases.find_reference(case, "calcium") is None
    write_nifti(case.ct, volume.with_array(volume.array + np.int16(1)))
    assert cases.find_reference(case, "heart").kind == cases.GIVEN
    assert "another scan" in caplog.text
