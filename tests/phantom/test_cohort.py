"""Cohorts of phantoms: what a case holds, the same bytes everywhere, resuming, and the pin."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import cc3d
import numpy as np
import pytest

from coronet.dataset.cases import find_case, find_cases
from coronet.errors import InputError
from coronet.fingerprint import recipe_version
from coronet.io.volume import read_nifti
from coronet.phantom.annotated_cohort import make_cohort
from coronet.phantom.cohort import compare_with_pin, is_whole, truth_path
from coronet.phantom.patients import Window, make_case, plan
from dispatch import outputs_at_dispatch_levels
from worker_threads import worker_threads

TINY = Window(matrix=96, field_mm=180.0, below_mm=(2.0, 4.0), length_mm=(135.0, 140.0))
SMALL = Window(matrix=160, field_mm=170.0, below_mm=(6.0, 12.0), length_mm=(135.0, 145.0))
SEED = 3


@pytest.fixture(scope="module")
def cases(small_case):
    return [small_case(index) for index in range(6)]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    data = tmp_path_factory.mktemp("cohort") / "data"
    write(data)
    return data


def write(data: Path, **more) -> dict[str, bool]:
    with worker_threads():
        return make_cohort(data, **{"cases": 2, "seed": SEED, "workers": 1, "window": SMALL} | more)


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.nii.gz"))
    }


def test_a_longer_plan_begins_with_the_shorter_one():
    assert plan(5, 60)[:40] == plan(5, 40)
    assert [slot.index for slot in plan(5, 60)] == list(range(60))


def test_about_one_patient_in_eight_is_scanned_twice():
    slots = plan(9, 800)
    patients = {slot.patient for slot in slots}
    assert 0.08 < sum(slot.round for slot in slots) / len(patients) < 0.17
    assert all(slot.patient == slots[i - 1].patient for i, slot in enumerate(slots) if slot.round)


def test_a_second_round_is_the_same_patient_scanned_anew():
    slot = next(slot for slot in plan(SEED, 200) if slot.round)
    first, second = (make_case(SEED, index, window=TINY) for index in (slot.index - 1, slot.index))
    assert first.facts.patient == second.facts.patient
    assert first.truth["settings"] != second.truth["settings"]
    assert [one["id"] for one in first.truth["lesions"]] == [one["id"] for one in second.truth["lesions"]]
    assert all(
        before["volume_mm3"] <= after["volume_mm3"]
        for before, after in zip(first.truth["lesions"], second.truth["lesions"], strict=True)
    )
    assert first.truth["heart_ml"] == pytest.approx(second.truth["heart_ml"], rel=0.02)


def test_image_and_masks_share_one_grid(cases):
    for case in cases:
        assert case.ct.same_grid(case.heart)
        assert case.ct.same_grid(case.calcium)
        assert case.ct.array.dtype == np.int16
        assert case.heart.array.dtype == case.calcium.array.dtype == np.uint8


def test_calcium_is_bright_and_labelled_by_vessel(cases):
    for case in cases:
        mask = case.calcium.array
        assert set(np.unique(mask)) <= {0, 1, 2, 3, 4}
        assert (case.ct.array[mask > 0] >= 130).all()
    assert {int(label) for case in cases for label in np.unique(case.calcium.array)} >= {0, 2}


def test_a_case_without_calcium_has_an_empty_mask_and_still_confounders(cases):
    free = [case for case in cases if case.truth["burden"] == "none"]
    assert free
    for case in free:
        assert not case.calcium.array.any()
        assert case.truth["lesions"] == []
    assert any(case.truth["confounders"] for case in free)


def test_the_mask_holds_the_visible_lesions_only(cases):
    for case in cases:
        visible = {lesion["vessel"] for lesion in case.truth["lesions"] if lesion["visible"]}
        labels = {"LM": 1, "LAD": 2, "LCX": 3, "RCA": 4}
        assert {labels[vessel] for vessel in visible} == set(np.unique(case.calcium.array)) - {0}
        assert sum(lesion["voxels"] for lesion in case.truth["lesions"]) == np.count_nonzero(
            case.calcium.array
        )
    lesions = [lesion for case in cases for lesion in case.truth["lesions"]]
    assert np.mean([lesion["visible"] for lesion in lesions]) > 0.6


def test_every_component_lies_at_a_lesion(cases):
    for case in cases:
        parts, count = cc3d.connected_components(case.calcium.array > 0, connectivity=26, return_N=True)
        for part in range(1, count + 1):
            places = np.argwhere(parts == part)
            world = places @ case.ct.affine[:3, :3].T + case.ct.affine[:3, 3]
            apart = [
                np.sqrt(((world - lesion["centre_mm"]) ** 2).sum(axis=1)).min()
                - (lesion["volume_mm3"] + 20) ** 0.5
                for lesion in case.truth["lesions"]
            ]
            assert min(apart) < 8.0


def test_confounders_are_never_in_the_mask(cases):
    hit = 0
    for case in cases:
        inverse = np.linalg.inv(case.ct.affine)
        lesions = [np.asarray(lesion["centre_mm"]) for lesion in case.truth["lesions"]]
        for other in case.truth["confounders"]:
            centre = np.asarray(other["centre_mm"])
            index = np.rint((inverse @ [*centre, 1])[:3]).astype(int)
            inside = (index >= 0).all() and (index < case.ct.shape).all()
            if inside and all(np.abs(centre - lesion).max() > 15 for lesion in lesions):
                hit += 1
                assert case.calcium.array[tuple(index)] == 0
    assert hit > 5


def test_hearts_are_as_large_as_hearts_and_inside_the_scan(cases):
    for case in cases:
        assert 400 < case.truth["heart_ml"] < 1300
        assert not case.heart.array[:, :, [0, -1]].any()


def test_facts_tell_what_a_scanner_tells(cases):
    for case in cases:
        assert case.facts.source == "phantom"
        assert case.facts.tube_kv == 120.0
        assert case.facts.contrast is False
        assert case.facts.kernel == case.truth["settings"]["kernel"]
        assert case.facts.slice_thickness_mm >= case.ct.spacing_mm[2] - 1e-6


def test_a_written_cohort_is_found_and_its_truth_lies_apart(written):
    found = find_cases(written)
    assert [case.id for case in found] == ["phantom-0001", "phantom-0002"]
    for case in found:
        ct, heart, calcium = read_nifti(case.ct), read_nifti(case.heart), read_nifti(case.calcium)
        assert ct.same_grid(heart)
        assert ct.same_grid(calcium)
        for model in ("heart", "calcium"):
            truth = read_nifti(written / "truth" / f"{case.id}_{model}.nii.gz")
            assert np.array_equal(truth.array, {"heart": heart, "calcium": calcium}[model].array)
    assert not list(written.rglob(".part-*"))


def test_a_written_case_is_the_drawn_case(written, small_case):
    case = small_case(1)
    volume = read_nifti(find_case(written, "phantom-0002").ct)
    assert np.array_equal(volume.array, case.ct.array)
    assert np.allclose(volume.affine, case.ct.affine)


def test_whole_cases_are_kept_and_broken_ones_made_again(written):
    before = digests(written)
    kept = written / "ct" / "phantom-0001.nii.gz"
    broken = written / "ct" / "phantom-0002.nii.gz"
    stamp = kept.stat().st_mtime_ns
    broken.write_bytes(broken.read_bytes()[:1000])
    (written / "ct" / ".part-left.nii.gz").write_bytes(b"half")
    write(written)
    assert kept.stat().st_mtime_ns == stamp
    assert digests(written) == before
    assert not list(written.rglob(".part-*"))


def test_cases_of_another_seed_or_generator_are_not_whole(written):
    slot = plan(SEED, 1)[0]
    assert is_whole(written, slot, seed=SEED)
    assert not is_whole(written, slot, seed=SEED + 1)
    path = truth_path(written, slot.case_id)
    before = path.read_text()
    path.write_text(json.dumps(json.loads(before) | {"generator": 0}))
    assert not is_whole(written, slot, seed=SEED)
    path.write_text(before)


def test_other_cases_are_not_mixed_in_silently(tmp_path):
    (tmp_path / "ct").mkdir()
    (tmp_path / "ct" / "mine.nii.gz").write_bytes(b"")
    with pytest.raises(InputError, match="mine"):
        write(tmp_path, cases=1)
    assert [path.name for path in (tmp_path / "ct").iterdir()] == ["mine.nii.gz"]


def test_the_pin_is_counted_as_dvc_counts(tmp_path, written):
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    for name in ("ct", "masks"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for path in (written / name).iterdir():
            (tmp_path / "data" / name / path.name).write_bytes(path.read_bytes())
    subprocess.run(
        [sys.executable, "-m", "dvc", "add", "-q", "data/ct"], cwd=tmp_path, check=True, capture_output=True
    )
    pin = tmp_path / "data" / "ct.dvc"
    folders = {name: tmp_path / "data" / name for name in ("ct", "masks")}
    assert compare_with_pin(pin, folders) == {"ct": True}
    (tmp_path / "data" / "ct" / "more.json").write_text("{}")
    assert compare_with_pin(pin, folders) == {"ct": False}
    assert compare_with_pin(tmp_path / "absent.dvc", folders) == {}


def test_a_cohort_that_differs_from_the_pin_is_said_to(tmp_path, written, caplog):
    pin = tmp_path / "data.dvc"
    pin.write_text(f"outs:\n- path: {written / 'ct'}\n  hash: md5\n  md5: {'0' * 32}.dir\n")
    same = write(written, pin=pin)
    assert same == {"ct": False}
    assert "differs" in caplog.text


DRAW = """
import hashlib, sys
from pathlib import Path
from coronet.phantom.cohort import _write_case
from coronet.phantom.patients import Window, make_case
data = Path(sys.argv[1])
window = Window(matrix=96, field_mm=180.0, below_mm=(2.0, 4.0), length_mm=(110.0, 112.0))
_write_case(data, make_case(3, int(sys.argv[2]), ranges=sys.argv[3], window=window))
for path in sorted(data.rglob("*.nii.gz")):
    print(path.name, hashlib.sha256(path.read_bytes()).hexdigest())
"""


@pytest.mark.slow
@pytest.mark.parametrize(("index", "ranges"), [(0, "realistic"), (5, "realistic"), (0, "wild"), (1, "wild")])
def test_the_same_seed_gives_the_same_bytes_at_every_level_of_dispatch(tmp_path, index, ranges):
    outputs = outputs_at_dispatch_levels(
        DRAW, tuple([str(tmp_path / level), str(index), ranges] for level in ("own", "baseline"))
    )
    assert outputs[0].count("\n") == 3
    assert outputs[0] == outputs[1]


@pytest.mark.slow
def test_workers_do_not_change_the_bytes(tmp_path, written):
    make_cohort(tmp_path / "two", cases=2, seed=SEED, workers=2, window=SMALL)
    assert digests(tmp_path / "two") == digests(written)


def test_the_command_makes_a_cohort_and_says_so(tmp_path, written):
    done = subprocess.run(
        [sys.executable, "-m", "coronet.cli", "data", "phantom", "--cases", "0", "--seed", "1"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    truth = json.loads(truth_path(written, "phantom-0001").read_text())
    assert truth["generator"] == recipe_version("phantom")


def test_heart_pairs_are_repeatable_and_varied(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    from transfer_pairs import draw_heart_pair

    drawn = [draw_heart_pair(1, i, spacing_mm=(8.0, 8.0, 8.0), shape=(42, 42, 42)) for i in range(3)]
    again = draw_heart_pair(1, 2, spacing_mm=(8.0, 8.0, 8.0), shape=(42, 42, 42))
    assert np.array_equal(drawn[2][0].array, again[0].array)
    assert np.array_equal(drawn[2][1], again[1])
    for volume, heart in drawn:
        assert volume.shape == heart.shape == (42, 42, 42)
        assert heart.dtype == bool
        assert 100 < np.count_nonzero(heart) * 0.512 < 2500
    assert len({float(volume.array.std()) for volume, _ in drawn}) == 3
