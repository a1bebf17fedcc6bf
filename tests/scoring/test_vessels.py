"""Vessels of calcium that networks found: a map learned from labelled masks, and what a score says."""

from __future__ import annotations

import json

import numpy as np
import pytest

from coronet.evaluation.vessel_fit import fit_map
from coronet.io.reader import Scan
from coronet.io.scan_facts import ScanFacts
from coronet.networks.factory import load_model
from coronet.networks.vessel_map import HeartFrame, VesselMap, sample_places
from coronet.report.scan_page import write_scan_result
from coronet.scoring.batch_table import row_of
from coronet.scoring.score_scan import score_scan
from coronet.scoring.vessel_labels import label_vessels
from made_chests import write_calibration

FACTS = ScanFacts(patient="", source="nifti")
LEFT_FRONT, RIGHT = (-30.0, 20.0, 10.0), (30.0, 0.0, 0.0)
SPACING = (2.0, 2.0, 3.0)
PLACES = {2: (-0.6, 0.9, 0.3), 3: (-0.9, -0.6, 0.1), 4: (1.1, 0.3, -0.2)}
"""Where made lesions of LAD, LCX and RCA lie, in standard deviations from the heart's centre."""


def heart_of(rng, shape=(60, 60, 40)):
    radii = np.array([20.0, 18.0, 14.0]) * rng.uniform(0.8, 1.2, 3)
    grid = np.indices(shape)
    parts = [((axis - n / 2) / radius) ** 2 for axis, n, radius in zip(grid, shape, radii, strict=True)]
    return sum(parts) < 1


def labelled(rng, heart, places=PLACES, spread=0.15):
    """A calcium mask with one lesion a vessel."""
    frame, labels = HeartFrame.of_mask(heart), np.zeros(heart.shape, np.uint8)
    for label, place in places.items():
        at = np.round(frame.centre + (place + rng.normal(0, spread, 3)) * frame.spread).astype(int)
        labels[tuple(slice(index, index + 2) for index in at)] = label
    return labels


@pytest.fixture(scope="module")
def models(save_fit, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fits")
    return {f"{model}_model": load_model(save_fit(folder / model, model)) for model in ("heart", "calcium")}


@pytest.fixture(scope="module")
def vessels():
    rng = np.random.default_rng(3)
    hearts = [heart_of(rng) for _ in range(24)]
    learned = {
        f"p{number}": sample_places(labelled(rng, heart), heart) for number, heart in enumerate(hearts)
    }
    checked = [item for heart in hearts for item in sample_places(labelled(rng, heart), heart)]
    found = fit_map(learned, checked)
    assert found is not None
    return found


def test_lesions_of_other_patients_get_their_vessel(vessels):
    assert vessels.labels == (2, 3, 4) and vessels.lesions == vessels.checked == 72
    assert vessels.right >= 70
    assert VesselMap.of_json(json.loads(json.dumps(vessels.__dict__))) == vessels


def test_size_and_place_of_the_heart_do_not_matter(vessels):
    rng = np.random.default_rng(5)
    heart = heart_of(rng)
    labels = labelled(rng, heart, spread=0.0)
    np.testing.assert_array_equal(label_vessels(labels > 0, heart, vessels), labels)
    moved = [np.pad(np.repeat(array, 2, axis=0), ((9, 0), (0, 4), (3, 3))) for array in (heart, labels)]
    np.testing.assert_array_equal(label_vessels(moved[1] > 0, moved[0], vessels), moved[1])


def test_a_stray_voxel_makes_no_vessel_and_a_long_plaque_keeps_both(vessels):
    heart = heart_of(np.random.default_rng(6))
    frame = HeartFrame.of_mask(heart)
    lad, lcx = (
        np.round(frame.centre + np.array(PLACES[label]) * frame.spread).astype(int) for label in (2, 3)
    )
    calcium = np.zeros(heart.shape, bool)
    calcium[lad[0], lcx[1] : lad[1], lad[2]] = True
    assert set(np.unique(label_vessels(calcium, heart, vessels))) == {0, 2, 3}
    calcium[:] = False
    border = next(
        row
        for row in range(lcx[1], lad[1])
        if vessels.probabilities(np.array([[lad[0], row, lad[2]]]), frame).argmax() == 0
    )
    calcium[lad[0], border - 1, lad[2]] = True
    calcium[lad[0] - 1 : lad[0] + 2, border + 1 : lad[1] + 3, lad[2]] = True
    calcium[lad[0], border, lad[2]] = True
    assert set(np.unique(label_vessels(calcium, heart, vessels))) == {0, 2}


def test_no_calcium_has_no_vessel(vessels):
    heart = heart_of(np.random.default_rng(7))
    assert not label_vessels(np.zeros_like(heart), heart, vessels).any()


def test_too_few_lesions_or_a_single_vessel_teach_nothing():
    rng = np.random.default_rng(8)
    heart = heart_of(rng)
    one = sample_places(labelled(rng, heart), heart)
    assert fit_map({"p1": one}, ()) is None
    alone = {f"p{number}": sample_places(labelled(rng, heart, {2: PLACES[2]}), heart) for number in range(60)}
    assert fit_map(alone, ()) is None


def test_a_score_tells_the_vessels(vessels, make_chest, models, save_fit, tmp_path):
    fit = save_fit(tmp_path / "fit", "calcium")
    write_calibration(fit, models["calcium_model"].sha256, vessels=vessels)
    calcium = load_model(fit)
    scan = Scan(make_chest([(LEFT_FRONT, 350), (RIGHT, 500)]).ct, FACTS)
    found = score_scan(scan, heart_model=models["heart_model"], calcium_model=calcium)
    plain = score_scan(scan, **models)
    answer = found.to_json()
    assert answer["scores"] == plain.to_json()["scores"]
    assert plain.to_json()["vessels"] is None
    by_peak = {lesion["peak_hu"]: lesion for lesion in answer["lesions"]}
    assert by_peak[350]["vessel"] == "LAD" and by_peak[500]["vessel"] == "RCA"
    assert all(0.5 < lesion["vessel_probability"] <= 1 for lesion in answer["lesions"])
    assert sum(answer["vessels"].values()) == pytest.approx(answer["scores"]["agatston"])
    assert set(answer["vessels"]) == {"LM", "LAD", "LCX", "RCA"}
    assert answer["groups"]["cac-drs"].endswith("/N2")
    assert "RCA (" in str(found)
    row = row_of("scan-1", answer, "cac-drs")
    assert row.rca == pytest.approx(answer["vessels"]["RCA"], abs=1e-3) and row.lcx == 0
    assert row_of("scan-1", plain.to_json(), "paper").lad is None
    write_scan_result(tmp_path / "page", found)
    page = (tmp_path / "page" / "index.html").read_text()
    assert "<td>RCA</td>" in page and "Vessels are told by a lesion's place" in page
    write_scan_result(tmp_path / "plain", plain)
    assert "<td>RCA</td>" not in (tmp_path / "plain" / "index.html").read_text()
