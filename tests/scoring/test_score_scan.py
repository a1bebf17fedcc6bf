"""One scan from voxels to score, with networks whose answer is known."""

from __future__ import annotations

import dataclasses
import gzip
import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner

from coronet.cli import app
from coronet.dataset.quality_flags import UNFIT
from coronet.errors import InputError, UnsuitableScan
from coronet.io.reader import Scan, read_scan
from coronet.io.scan_facts import ScanFacts
from coronet.io.volume import Volume, read_nifti, write_nifti
from coronet.networks.factory import load_model
from coronet.scoring.calcium_score import score_calcium
from coronet.scoring.score_scan import score_scan
from coronet.scoring.segment_scan import check_suitability
from made_chests import write_calibration

LESIONS = [((20.0, 10.0, 4.0), 350), ((-24.0, 20.0, -20.0), 500)]
FACTS = ScanFacts(patient="", source="nifti")


@pytest.fixture(scope="module")
def models(save_fit, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fits")
    return {f"{model}_model": load_model(save_fit(folder / model, model)) for model in ("heart", "calcium")}


def test_the_whole_path_scores_what_an_expert_would(make_chest, models):
    chest = make_chest(LESIONS)
    found = score_scan(Scan(chest.ct, FACTS), **models)
    assert np.array_equal(found.masks.calcium, chest.calcium)
    assert found.result.scores == score_calcium(chest.ct, chest.calcium).scores
    assert found.result.scores.agatston > 100


def test_a_scan_without_calcium_scores_zero(make_chest, models):
    found = score_scan(Scan(make_chest().ct, FACTS), **models)
    assert found.result.scores.agatston == 0
    assert found.to_json()["groups"]["paper"] == "0"
    assert found.to_json()["lesions"] == []


def test_the_answer_names_lesions_models_and_limits(make_chest, models):
    answer = score_scan(Scan(make_chest(LESIONS).ct, FACTS), **models).to_json()
    assert set(answer) == {
        "scores",
        "groups",
        "vessels",
        "lesions",
        "uncertainty",
        "protocol",
        "models",
        "input",
    }
    assert {lesion["peak_hu"] for lesion in answer["lesions"]} == {350, 500}
    assert all(lesion["place"] for lesion in answer["lesions"])
    assert answer["models"]["heart"]["trained_on"] == "phantom"
    assert answer["models"]["heart"]["weights_sha256"] == models["heart_model"].sha256
    assert "must not be believed on patients" in answer["models"]["statement"]
    assert next(iter(answer)) == "models" and next(iter(answer["models"])) == "statement"
    assert answer["uncertainty"] is None
    assert {lesion["probability"] for lesion in answer["lesions"]} == {None}


def test_a_calibrated_network_says_how_sure_the_score_is(make_chest, models, save_fit, tmp_path):
    fit = save_fit(tmp_path, "calcium")
    write_calibration(fit, models["calcium_model"].sha256, intercept=1.0)
    scan = Scan(make_chest(LESIONS).ct, FACTS)
    found = score_scan(scan, heart_model=models["heart_model"], calcium_model=load_model(fit))
    answer = found.to_json()
    sure = answer["uncertainty"]
    assert sure["low"] <= sure["median"] <= sure["high"] == pytest.approx(found.agatston, rel=1e-3)
    assert {lesion["probability"] for lesion in answer["lesions"]} == {0.7311}
    assert sure["groups"]["paper"]["0"] == pytest.approx(0.2689**2, abs=1e-4)
    assert "(90% interval); group 0 7%" in str(found)
    assert ", probability 0.73" in str(found)


def test_a_score_against_the_odds_is_doubtful_in_every_output(make_chest, save_fit, tmp_path):
    fits = {model: save_fit(tmp_path / model, model) for model in ("heart", "calcium")}
    weights = load_model(fits["calcium"]).sha256
    write_calibration(fits["calcium"], weights, intercept=-30.0)  # what is counted is none
    write_nifti(tmp_path / "scans" / "one.nii.gz", make_chest(LESIONS).ct)
    options = ["--models", f"heart={fits['heart']},calcium={fits['calcium']}", "--out", str(tmp_path / "out")]
    printed = CliRunner().invoke(app, ["score", str(tmp_path / "scans" / "one.nii.gz"), *options])
    assert "Beware: the score" in printed.output and "its own 90% interval" in printed.output
    assert "doubtful_score" in json.loads((tmp_path / "out" / "score.json").read_text())["input"]["warnings"]
    assert "lies outside of its own 90% interval" in (tmp_path / "out" / "index.html").read_text()
    CliRunner().invoke(app, ["score", str(tmp_path / "scans"), "--batch", *options])
    assert "doubtful_score" in (tmp_path / "out" / "scores.csv").read_text()


def test_a_network_without_calibration_gives_no_interval_and_says_so(make_chest, models, save_fit, tmp_path):
    assert "no interval, since the calcium network is not calibrated" in str(
        score_scan(Scan(make_chest(LESIONS).ct, FACTS), **models)
    )
    fit = save_fit(tmp_path, "calcium")
    write_calibration(fit, "0" * 64)
    assert load_model(fit).calibration is None


CUTS = {
    "above": (slice(None), slice(None), slice(0, 32), "reaches the highest slice"),
    "below": (slice(None), slice(None), slice(18, None), "reaches the lowest slice"),
    "to the left": (slice(45, None), slice(None), slice(None), "reaches the left edge"),
    "to the right": (slice(0, 65), slice(None), slice(None), "reaches the right edge"),
    "in front": (slice(None), slice(0, 52), slice(None), "reaches the front edge"),
    "to a slab": (slice(None), slice(None), slice(18, 30), "the lowest slice and the highest slice"),
}


@pytest.mark.parametrize("side", CUTS)
def test_a_heart_that_is_cut_has_no_score(make_chest, models, side):
    *box, reason = CUTS[side]
    whole = make_chest(LESIONS).ct
    cut = Volume(np.asfortranarray(whole.array[tuple(box)]), whole.affine)
    with pytest.raises(UnsuitableScan, match=f"must not be scored: the heart .*{reason}"):
        score_scan(Scan(cut, FACTS), **models)
    forced = score_scan(Scan(cut, FACTS), **models, force=True)
    assert reason in forced.to_json()["input"]["warnings"]["incomplete"]


def test_a_scan_that_ends_near_the_heart_has_the_same_score(make_chest, models):
    whole = make_chest(LESIONS).ct
    short = Volume(np.asfortranarray(whole.array[10:100, :, 7:44]), whole.affine)
    expected = score_scan(Scan(whole, FACTS), **models)
    found = score_scan(Scan(short, FACTS), **models)
    assert found.result.scores.agatston == expected.result.scores.agatston > 100
    assert found.flags == ()


@pytest.mark.parametrize("side", ["upper", "lower", "right", "left", "rear"])
def test_consolidated_lungs_do_not_pass_for_a_cut_heart(make_chest, models, side):
    chest = make_chest(LESIONS)
    hu = chest.ct.array.copy(order="F")
    x, y, z = np.indices(hu.shape)
    part = {"upper": z > 36, "lower": z < 16, "right": x > 84, "left": x < 26, "rear": y < 26}[side]
    hu[part & (hu < -600) & (hu > -950)] = 5
    found = score_scan(Scan(chest.ct.with_array(hu), FACTS), **models)
    assert found.flags == ()
    assert found.result.scores.agatston == score_calcium(chest.ct, chest.calcium).scores.agatston


def test_a_heart_of_no_plausible_size_has_no_score(make_chest, models):
    whole = make_chest(LESIONS).ct
    affine = np.diag([0.75, 0.75, 0.75, 1.0]) @ whole.affine
    with pytest.raises(UnsuitableScan, match=r"the heart measures \d+ ml; 250 to 1600 are plausible"):
        score_scan(Scan(Volume(whole.array, affine), FACTS), **models)


def test_a_tube_voltage_that_the_thresholds_do_not_hold_for_is_told(make_chest, models):
    facts = dataclasses.replace(FACTS, tube_kv=80.0)
    assert "tube_voltage" in score_scan(Scan(make_chest().ct, facts), **models).flags
    facts = dataclasses.replace(FACTS, tube_kv=120.0)
    assert "tube_voltage" not in score_scan(Scan(make_chest().ct, facts), **models).flags


def test_models_that_are_swapped_are_refused(make_chest, models):
    swapped = {"heart_model": models["calcium_model"], "calcium_model": models["heart_model"]}
    with pytest.raises(InputError, match="trained to find the calcium"):
        score_scan(Scan(make_chest().ct, FACTS), **swapped)


def test_a_contrast_scan_is_refused_unless_forced(make_chest, models):
    scan = Scan(make_chest().ct, dataclasses.replace(FACTS, contrast=True))
    with pytest.raises(UnsuitableScan, match=r"must not be scored: a contrast agent"):
        score_scan(scan, **models)
    forced = score_scan(scan, **models, force=True)
    assert "contrast" in forced.to_json()["input"]["warnings"]


@pytest.mark.parametrize("flag", UNFIT)
def test_flags_that_forbid_a_score_say_why(flag):
    with pytest.raises(UnsuitableScan, match="because of this. --force"):
        check_suitability({flag: "because of this"})
    check_suitability({flag: "because of this"}, force=True)


def test_thick_slices_warn_and_are_scored(make_chest, models):
    chest = make_chest(LESIONS)
    affine = chest.ct.affine.copy()
    affine[2, 2] = 6.0
    thick = dataclasses.replace(chest.ct, affine=affine)
    assert "thick_slices" in score_scan(Scan(thick, FACTS), **models).flags


def test_no_heart_is_no_zero(make_chest, save_fit, tmp_path):
    blind = {
        "heart_model": load_model(save_fit(tmp_path / "heart", "heart", logit=-9.0)),
        "calcium_model": load_model(save_fit(tmp_path / "calcium", "calcium")),
    }
    with pytest.raises(UnsuitableScan, match="found no heart"):
        score_scan(Scan(make_chest(LESIONS).ct, FACTS), **blind, force=True)


def test_files_lie_on_the_scans_own_grid_and_others_stay(make_chest, models, tmp_path):
    chest = make_chest(LESIONS)
    (tmp_path / "notes.txt").write_text("mine")
    found = score_scan(Scan(chest.ct, FACTS), **models)
    found.save(tmp_path)
    for name in ("heart", "calcium"):
        assert read_nifti(tmp_path / f"{name}.nii.gz").same_grid(chest.ct)
    assert np.array_equal(read_nifti(tmp_path / "calcium.nii.gz").array > 0, chest.calcium)
    assert json.loads((tmp_path / "score.json").read_text()) == json.loads(json.dumps(found.to_json()))
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_nothing_that_names_the_patient_is_written(make_chest, models, tmp_path):
    folder = tmp_path / "CANARY^JANE" / "CANARY-MRN-4711"
    folder.mkdir(parents=True)
    write_nifti(folder / "CANARY_scan.nii.gz", make_chest(LESIONS).ct)
    scan = dataclasses.replace(read_scan(folder / "CANARY_scan.nii.gz"), identity="CANARY^JANE")
    scan = dataclasses.replace(scan, facts=dataclasses.replace(scan.facts, patient="CANARY-MRN-4711"))
    score_scan(scan, **models).save(tmp_path / "out")
    for file in (tmp_path / "out").iterdir():
        assert not re.search(rb"CANARY|4711", file.read_bytes()), file.name
        if file.suffix == ".gz":
            assert not re.search(rb"CANARY|4711", gzip.decompress(file.read_bytes()))
