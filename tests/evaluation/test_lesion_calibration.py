"""Calibration on tune patients: known miscalibration is undone, few lesions are refused, the stage runs."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from coronet.dataset.split import Member, Split
from coronet.errors import InputError
from coronet.evaluation.candidate_outcomes import CandidateOutcomes, candidate_outcomes
from coronet.evaluation.lesion_calibration import (
    calibrate_model,
    fit_calibration,
    fit_logistic,
    fit_measurement_error,
)
from coronet.inference.predict import calcium_candidates
from coronet.io.volume import Volume, grid_affine
from coronet.networks.calibration import (
    CALIBRATION,
    features,
    measure_reliability,
    not_calibrated,
    read_calibration,
)
from coronet.networks.factory import load_model
from coronet.scoring.protocol import PROTOCOLS
from made_chests import SURE, write_calibration


def simulated(count: int, *, seed: int, overconfident: float = 2.5) -> CandidateOutcomes:
    """Candidates of a network that says too much: the logit of its probability is stretched and shifted."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 1.5, count)
    network = 1 / (1 + np.exp(-(overconfident * logit + 0.8)))
    true = rng.random(count) < 1 / (1 + np.exp(-logit))
    score = rng.exponential(60, count) + 2
    found = tuple((s, max(0.1, s + rng.normal(0, np.sqrt(0.5 * s + (0.08 * s) ** 2)))) for s in score[true])
    return CandidateOutcomes(network, rng.exponential(30, count) + 1, score, true, found, ())


def by_patient(patients: int, each: int) -> dict:
    return {f"p{number}": [simulated(each, seed=number)] for number in range(patients)}


def fitted(outcomes):
    raw = fit_calibration(outcomes, weights_sha256="w", heart_sha256="h")
    return dataclasses.replace(
        SURE,
        **{name: raw[name] for name in ("intercept", "slope", "size_slope", "error_root", "error_share")},
    )


def test_a_known_miscalibration_is_undone():
    calibration = fitted(by_patient(40, 25))
    new = simulated(4000, seed=999)
    before = measure_reliability(new.network, new.true)
    after = measure_reliability(calibration.probability(new.network, new.volume_mm3), new.true)
    assert calibration.slope == pytest.approx(1 / 2.5, abs=0.06)
    assert calibration.size_slope == pytest.approx(0, abs=0.15)
    assert after.error < 0.03
    assert before.error > 0.1
    assert after.brier < before.brier


def test_the_measurement_error_is_recovered():
    root, share = fit_measurement_error(simulated(20_000, seed=5).measured)
    assert root == pytest.approx(np.sqrt(0.5), rel=0.15)
    assert share == pytest.approx(0.08, rel=0.1)


def test_masks_that_agree_have_no_measurement_error():
    assert fit_measurement_error([(5.0, 5.0), (70.0, 70.0), (300.0, 300.0)]) == (0, 0)


def test_few_lesions_change_the_networks_probability_little_and_never_its_order():
    seen = features(np.array([0.9, 0.8, 0.2]), np.array([20.0, 20.0, 20.0]))
    assert fit_logistic(seen, np.array([True, True, False]))[1] == pytest.approx(1, abs=0.6)
    wrong_way = features(np.linspace(0.01, 0.99, 200), np.full(200, 20.0))
    assert fit_logistic(wrong_way, np.linspace(0.01, 0.99, 200) < 0.5)[1] == 0


def test_each_patient_is_judged_by_a_fit_without_him():
    raw = fit_calibration(by_patient(4, 25), weights_sha256="w", heart_sha256="h")
    assert raw["calibrated"]["candidates"] == raw["network"]["candidates"] == 100
    assert raw["calibrated"]["brier"] != pytest.approx(
        measure_reliability(*_own(by_patient(4, 25))).brier, abs=1e-9
    )
    assert (raw["fitted"], raw["patients"], raw["scans"]) == (True, 4, 4)


def _own(outcomes):
    calibration = fitted(outcomes)
    items = [item for scans in outcomes.values() for item in scans]
    chances = [calibration.probability(item.network, item.volume_mm3) for item in items]
    return np.concatenate(chances), np.concatenate([item.true for item in items])


def test_too_few_lesions_or_patients_give_no_calibration():
    for outcomes in (by_patient(2, 60), by_patient(4, 1), {}):
        raw = fit_calibration(outcomes, weights_sha256="w", heart_sha256="h")
        assert raw["fitted"] is False
        assert "tune patients with" in raw["reason"]


def test_one_missed_lesion_is_expected_of_many_scans_and_none_rules_none_out():
    scans = by_patient(10, 20)
    none = fit_calibration(scans, weights_sha256="w", heart_sha256="h")
    assert none["missed_per_scan"] == pytest.approx(0.05)
    scans["p0"] = [dataclasses.replace(scans["p0"][0], missed=(400.0,))]
    one = fit_calibration(scans, weights_sha256="w", heart_sha256="h")
    assert one["missed_per_scan"] == pytest.approx(0.15)
    assert one["missed_score"] > 2 * none["missed_score"]


def test_candidates_are_matched_with_lesions_by_touch():
    array = np.full((30, 30, 6), 40, np.int16)
    probability, reference = np.zeros(array.shape, np.float32), np.zeros(array.shape, np.uint8)
    boxes = {"both": (2, 0.9, 1), "false": (9, 0.8, 0), "missed": (16, 0.0, 1), "doubted": (23, 0.3, 1)}
    for start, chance, true in boxes.values():
        box = (slice(start, start + 3), slice(4, 7), slice(2, 4))
        array[box], probability[box], reference[box] = 300, chance, true
    # the reference holds less of the first lesion, and a voxel too dark to count
    reference[4, 4:7, 2:4] = 0
    reference[0, 0, 0] = 1
    ct = Volume(array, grid_affine((1.0, 1.0, 3.0), (0, 0, 0)))
    found = candidate_outcomes(ct, calcium_candidates(probability, ct, 0.5), reference, PROTOCOLS["coronet"])
    assert found.true.tolist() == [True, False, True]
    assert found.score.tolist() == [54, 54, 54]
    assert found.measured == ((54, 36), (54, 54))
    assert found.missed == (54,)
    assert found.volume_mm3 == pytest.approx(54)


def test_bins_say_how_probable_and_how_often():
    found = measure_reliability([0.05, 0.15, 0.15, 1.0], [False, False, True, True])
    assert [item.predicted for item in found.bins] == pytest.approx([0.05, 0.15, 1])
    assert [(item.observed, item.candidates) for item in found.bins] == [(0, 1), (0.5, 2), (1, 1)]
    assert found.error == pytest.approx((0.05 + 2 * 0.35 + 0) / 4)
    assert measure_reliability([], []).error is None


@pytest.fixture(scope="module")
def cohort(make_cohort, save_fit, tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibrate")
    split = make_cohort(folder / "data")
    tested = [member for member in split.members if member.part == "test"]
    members = tuple(dataclasses.replace(member, part="tune") for member in tested)
    save_fit(folder / "build" / "heart" / "fit", "heart")
    save_fit(folder / "build" / "calcium" / "fit", "calcium")
    return folder, Split(seed=0, members=members)


def run_stage(folder, split, out=None):
    build = folder / "build"
    return calibrate_model(
        folder / "data",
        split,
        heart_fit=build / "heart" / "fit",
        calcium_fit=build / "calcium" / "fit",
        out=out or build / "calcium" / CALIBRATION,
        protocol=PROTOCOLS["coronet"],
    )


def test_the_stage_reads_tune_patients_and_the_model_carries_the_result(cohort, tmp_path, monkeypatch):
    folder, split = cohort
    raw = run_stage(folder, split, tmp_path / CALIBRATION)
    assert raw["fitted"] is False and json.loads((tmp_path / CALIBRATION).read_text()) == raw
    monkeypatch.setattr("coronet.evaluation.lesion_calibration._LEAST_LESIONS", 2)
    raw = run_stage(folder, split)
    fit = folder / "build" / "calcium" / "fit"
    model = load_model(fit)
    assert model.calibration is not None and model.calibration.to_json() == raw
    assert raw["scans"] == 3  # one has no reference
    assert raw["calibrated"]["lesions"] == 3
    again = run_stage(folder, split, tmp_path / "again.json")
    assert again == raw
    assert load_model(folder / "build" / "heart" / "fit").calibration is None
    assert read_calibration(fit, "0" * 64) is None


def test_test_patients_are_not_read(cohort, tmp_path):
    folder, _ = cohort
    split = Split(seed=0, members=(Member("absent", "p", "test", "none"),))
    assert run_stage(folder, split, tmp_path / CALIBRATION)["fitted"] is False


def test_a_calibration_that_is_not_understood_is_refused(tmp_path):
    write_calibration(tmp_path, "w")
    assert read_calibration(tmp_path, "w") == dataclasses.replace(SURE, weights_sha256="w")
    raw = json.loads((tmp_path / CALIBRATION).read_text())
    for wrong in ({"slope": -1.0}, {"slope": None}, {"error_root": float("inf")}, {"bins": []}):
        (tmp_path / CALIBRATION).write_text(json.dumps(raw | wrong))
        with pytest.raises(InputError, match=r"calibration.json.*dvc repro calibrate|calibration.json"):
            read_calibration(tmp_path, "w")
    (tmp_path / CALIBRATION).write_text(
        json.dumps(not_calibrated("few", weights_sha256="w", heart_sha256="h"))
    )
    assert read_calibration(tmp_path, "w") is None
