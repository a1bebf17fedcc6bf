"""Scans unlike those that a heart network learned from are refused, and so are none that it knows."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from typer.testing import CliRunner

import coronet
from coronet.cli import app
from coronet.errors import InputError, UnsuitableScan
from coronet.evaluation.distribution_fit import distribution_of
from coronet.io.reader import Scan, read_scan
from coronet.io.scan_facts import ScanFacts
from coronet.io.volume import Volume, grid_affine, write_nifti
from coronet.networks.factory import load_model
from coronet.networks.input_distribution import (
    DISTRIBUTION,
    InputDistribution,
    read_distribution,
    write_distribution,
)
from coronet.phantom.anatomy import draw_anatomy
from coronet.phantom.curves import Tube
from coronet.phantom.lung_disease import LungDisease
from coronet.phantom.random_draws import generator
from coronet.phantom.rasterize import rasterize
from coronet.registry.packaging import copy_model
from coronet.report.scan_page import write_scan_result
from coronet.scoring.score_scan import score_scan

FACTS = ScanFacts(patient="", source="nifti")
LESIONS = [((20.0, 10.0, 4.0), 350)]


@pytest.fixture
def fits(save_fit, tmp_path):
    return {model: save_fit(tmp_path / model, model) for model in ("heart", "calcium")}


def record(fits, *, limit):
    """Give the heart network a distribution by which every scan lies some distance off."""
    heart = load_model(fits["heart"])
    size = 2 * heart.params.network.channels[-1]
    write_distribution(
        fits["heart"] / DISTRIBUTION,
        InputDistribution(heart.sha256, np.full(size, 9.0), np.ones(size), np.eye(size), limit, 40, 8),
    )


def scored(fits, chest, **rules):
    models = {f"{model}_model": load_model(folder) for model, folder in fits.items()}
    return score_scan(Scan(chest.ct, FACTS), **models, **rules)


def test_distances_grow_with_what_was_never_seen():
    rng = np.random.default_rng(2)
    mixing = rng.normal(size=(6, 6))
    train, tune, other = (rng.normal(size=(count, 6)) @ mixing for count in (60, 12, 200))
    found = distribution_of(train, tune, weights_sha256="w")
    assert (found.scans, found.tuned) == (60, 12)
    assert max(found.distance(row) for row in tune) <= found.limit
    assert np.mean([found.distance(row) > found.limit for row in other]) < 0.1
    assert all(found.distance(row + 30.0) > found.limit for row in other)


def test_an_unfamiliar_scan_has_no_score_but_by_force_which_every_output_says(fits, make_chest, tmp_path):
    chest = make_chest(LESIONS)
    record(fits, limit=1.0)
    with pytest.raises(UnsuitableScan, match="unlike those that the heart network learned from"):
        scored(fits, chest)
    forced = scored(fits, chest, force=True)
    answer = forced.to_json()
    assert answer["input"]["flags"] == ["unfamiliar"]
    assert answer["input"]["familiarity"]["distance"] > answer["input"]["familiarity"]["limit"] == 1.0
    assert "Beware: the scan is unlike" in str(forced)
    write_nifti(tmp_path / "scans" / "one.nii.gz", chest.ct)
    models = ["--models", f"heart={fits['heart']},calcium={fits['calcium']}"]
    run = CliRunner().invoke(app, ["score", str(tmp_path / "scans" / "one.nii.gz"), *models])
    assert isinstance(run.exception, UnsuitableScan)
    out = tmp_path / "out"
    options = ["--batch", "--force", "--out", str(out), *models]
    assert CliRunner().invoke(app, ["score", str(tmp_path / "scans"), *options]).exit_code == 0
    assert "unfamiliar" in (out / "scores.csv").read_text()
    page = next(out.glob("scan-*/index.html")).read_text()
    assert "Scored by force." in page and "unlike those" in page


def test_a_heart_on_the_right_has_no_score_but_by_force_which_every_output_says(fits, make_chest, tmp_path):
    reason = "the heart lies on the right: mirrored, or situs inversus"
    assert scored(fits, make_chest(LESIONS, right_mm=-24.0)).flags == ()
    chest = make_chest(LESIONS, right_mm=24.0)
    with pytest.raises(UnsuitableScan, match=reason):
        scored(fits, chest)
    write_nifti(tmp_path / "scans" / "one.nii.gz", chest.ct)
    options = ["--models", f"heart={fits['heart']},calcium={fits['calcium']}", "--out", str(tmp_path / "out")]
    one, folder = str(tmp_path / "scans" / "one.nii.gz"), str(tmp_path / "scans")
    assert isinstance(CliRunner().invoke(app, ["score", one, *options]).exception, UnsuitableScan)
    assert not (tmp_path / "out" / "score.json").exists()
    assert f"Beware: {reason}." in CliRunner().invoke(app, ["score", one, "--force", *options]).output
    answer = json.loads((tmp_path / "out" / "score.json").read_text())
    assert answer["input"]["warnings"] == {"heart_side": reason} and answer["scores"]["agatston"] > 100
    assert "he heart lies on the right" in (tmp_path / "out" / "index.html").read_text()
    assert CliRunner().invoke(app, ["score", folder, "--batch", "--force", *options]).exit_code == 0
    assert "heart_side" in (tmp_path / "out" / "scores.csv").read_text()


def test_a_familiar_scan_is_scored_and_tells_how_familiar(fits, make_chest):
    record(fits, limit=1e6)
    answer = scored(fits, make_chest(LESIONS)).to_json()
    assert answer["input"]["flags"] == []
    assert 0 < answer["input"]["familiarity"]["distance"] < 1e6


def test_a_network_that_does_not_tell_is_not_checked_and_says_so(fits, make_chest, tmp_path):
    words = "Scans unlike its training scans are not recognised."
    found = scored(fits, make_chest(LESIONS))
    assert found.to_json()["input"]["familiarity"] is None
    assert str(found).count(words) == 1 and words in found.to_json()["models"]["statement"]
    write_scan_result(tmp_path, found)
    assert words in (tmp_path / "index.html").read_text()
    record(fits, limit=1e6)
    assert words not in str(scored(fits, make_chest(LESIONS)))
    record(fits, limit=1.0)
    assert read_distribution(fits["heart"], "0" * 64) is None
    assert load_model(fits["calcium"]).distribution is None


def test_a_copied_model_keeps_it_and_a_damaged_one_is_refused(fits, tmp_path):
    record(fits, limit=3.0)
    copy_model(fits["heart"], tmp_path / "copy")
    kept = load_model(tmp_path / "copy").distribution
    assert kept is not None and kept.limit == 3.0 and kept.scans == 40
    (tmp_path / "copy" / DISTRIBUTION).write_bytes(b"no safetensors")
    with pytest.raises(InputError, match=r"distribution.safetensors.*dvc repro calibrate"):
        load_model(tmp_path / "copy")


REFUSED = {
    "mirrored": (lambda hu: hu[::-1], "the heart lies on the right: mirrored, or situs inversus"),
    "100 HU too bright": (
        lambda hu: np.clip(hu, -1024, 2900) + np.int16(100),
        "HU are shifted: fat lies far",
    ),
    "100 HU too dark": (lambda hu: np.maximum(hu, -924) - np.int16(100), "HU are shifted: fat lies far"),
}


@pytest.mark.parametrize("change", REFUSED)
@pytest.mark.parametrize("name", ["lidc_0002_2mm5", "lung_dx_a0001"])
def test_the_networks_of_the_package_refuse_a_real_scan_for_one_true_reason(real_data, name, change):
    ct = read_scan(real_data / "chest_ct" / f"{name}.nii").volume
    changed, reason = REFUSED[change]
    made = Volume(np.asfortranarray(changed(ct.array)), ct.affine)
    with pytest.raises(UnsuitableScan, match=rf"must not be scored: {reason}[^;]*\. --force"):
        coronet.score(Scan(made, FACTS))


FILLED = {
    "both lungs": ((-1, 1), 250.0, "no heart between two lungs that hold air is in view"),
    "the right lung": ((1,), 250.0, "no heart between two lungs that hold air is in view"),
    "both lower lobes": ((-1, 1), 0.0, "only .*% of the heart mask has lung that holds air on both sides"),
}


@pytest.mark.parametrize("which", FILLED)
def test_a_complete_scan_of_consolidated_lungs_is_refused_for_one_true_reason(which, tmp_path):
    """248 slices of 1.25 mm; padding outside of the circle of reconstruction."""
    sides, height, reason = FILLED[which]
    affine, shape = grid_affine((4.0, 4.0, 1.25), (-200.0, -200.0, -130.0)), (100, 100, 248)
    filled = [np.asarray([[85.0 * side, -10.0, low] for low in (-200.0, height)]) for side in sides]
    tubes = tuple(Tube(line, np.full(2, 110.0)) for line in filled)
    anatomy = draw_anatomy(generator(1))
    anatomy = dataclasses.replace(anatomy, lung_disease=LungDisease((), tubes, 30.0, (), 0.0))
    hu = rasterize(anatomy, affine, shape).hu + generator(5).normal(0, 12, shape)
    x, y = np.indices(shape[:2]) - 49.5
    hu[x**2 + y**2 > 50**2] = -3024
    write_nifti(tmp_path / "scan.nii.gz", Volume(np.asfortranarray(hu.round().astype(np.int16)), affine))
    with pytest.raises(UnsuitableScan, match=rf"must not be scored: {reason}\. --force"):
        coronet.score(tmp_path / "scan.nii.gz")


TURNED = {
    "upside down": lambda hu: hu[:, :, ::-1],
    "front to back": lambda hu: hu[:, ::-1],
    "one slab again and again": lambda hu: np.concatenate([hu[:, :, 20:30]] * 6, axis=2),
    "inverted": lambda hu: -hu,
}


@pytest.mark.parametrize("change", TURNED)
def test_the_networks_of_the_package_refuse_a_real_scan_that_is_turned_or_made_up(real_data, change):
    ct = read_scan(real_data / "chest_ct" / "lung_dx_a0001.nii").volume
    made = Volume(np.asfortranarray(TURNED[change](ct.array)), ct.affine)
    with pytest.raises((UnsuitableScan, InputError)):
        coronet.score(Scan(made, FACTS))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "chest_ct/lidc_0002_2mm5.nii",
        "chest_ct/rider_1129164940_2mm5.nii",
        "chest_ct/lung_dx_a0001.nii",
        "chest_ct/fourd_lung_113.nii",
        "chest_ct/pyradiomics_lung1.nii",
        "lung1_001",
        "lung_dx_a0002/B40f",
        "lung_dx_a0002/B70f",
    ],
)
def test_the_networks_of_the_package_know_real_chests(real_data, name):
    familiarity = coronet.score(real_data / name).to_json()["input"]["familiarity"]
    assert familiarity is not None and familiarity["distance"] <= familiarity["limit"]
    assert json.dumps(familiarity)
