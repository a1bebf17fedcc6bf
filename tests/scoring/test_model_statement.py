"""What stands before a score: what its networks learned from, what they reached, and what the gate said."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from coronet.cli import app
from coronet.config import load_params
from coronet.config.floors import default_floors, gate_floors
from coronet.errors import InputError
from coronet.files import read_json, sha256_file, write_json
from coronet.io.content_hash import content_sha256
from coronet.io.volume import Volume, write_nifti
from coronet.networks.quality import QUALITY, ModelQuality, evaluation_of
from coronet.registry import promotion_log
from coronet.registry.version_quality import load_scoring_model
from coronet.scoring.model_statement import state_models
from coronet.scoring.predicted_masks import origin_of

REAL, PHANTOMS = {"dicom": 8}, {"phantom": 8}
GOOD = {"dice": 0.95, "f1": 0.8, "found": 16, "false_mm3": 3.0, "score_error": 20.0, "kappa": 0.9}
BAD = GOOD | {"f1": 0.0631, "found": 2, "score_error": 811.6, "kappa": 0.1}
PROMOTED = {"answer": "PROMOTE", "reasons": ["All holds."], "patients": 3, "not_asked": [], "lowered": []}
SPARED = PROMOTED | {
    "not_asked": ["f1", "lesion_sensitivity", "false_mm3", "score_error", "kappa"],
    "lowered": ["seconds"],
}
LESIONS = 17


@pytest.fixture
def make_build(save_fit, tmp_path) -> Callable[..., Path]:
    """A project with two trainings, evaluated on ``sources`` with ``figures``, judged with ``verdicts``."""

    def make(
        *,
        cases=REAL,
        sources=None,
        figures=None,
        verdicts=None,
        scans=None,
        weights: str = "",
    ) -> Path:
        build, sources = tmp_path / "build", {"dicom": 3} if sources is None else sources
        fits = {
            model: save_fit(build / model / "fit", model, cases=cases, scans=scans)
            for model in ("heart", "calcium")
        }
        sha256 = {model: weights or sha256_file(fit / "weights.safetensors") for model, fit in fits.items()}
        for model, verdict in (verdicts or {}).items():
            details = {"weights_sha256": sha256_file(fits[model] / "weights.safetensors"), "verdict": verdict}
            kind = promotion_log.PROMOTED if verdict["answer"] == "PROMOTE" else promotion_log.REJECTED
            promotion_log.append(tmp_path, promotion_log.Event(kind, model, 1, details))
        if figures is None:
            return build
        common = {"part": "test", "cases": sum(sources.values()), "sources": sources}
        lesions = {"true": LESIONS, "found": figures["found"], "sensitivity": figures["found"] / LESIONS}
        heart = {"dice": {"mean": figures["dice"]}, "weights_sha256": {"heart": sha256["heart"]}}
        calcium = {
            "pooled": {"f1": figures["f1"]},
            "lesions": lesions,
            "calcium_free": {"false_mm3": {"mean": figures["false_mm3"]}},
            "weights_sha256": {"calcium": sha256["calcium"]},
        }
        scores = {"lesions": lesions, "score_error": figures["score_error"], "weights_sha256": sha256}
        scores["agreement"] = {"kappa_linear": figures["kappa"]}
        for name, content in (
            ("heart/evaluation", heart),
            ("calcium/evaluation", calcium),
            ("scores", scores),
        ):
            write_json(build / name / "metrics.json", common | content)
        return build

    return make


def state(build: Path):
    """The statement on the two networks of ``build``."""
    models = {
        model: origin_of(load_scoring_model(str(build / model / "fit"), part=model))
        for model in ("heart", "calcium")
    }
    return state_models(models)


def test_drawn_calcium_is_no_patient(make_build):
    found = state(make_build(cases={"deposited": 12, "phantom": 1}))
    assert "learned_from_drawn_calcium" in found.cautions
    assert found.title == "Learned from drawn calcium: this score must not be believed on patients."
    assert "learned from 12 scans with drawn calcium and 1 phantom" in found.text
    assert "learned_from_drawn_calcium" not in state(make_build(cases={"deposited": 12, "dicom": 1})).cautions


@pytest.mark.parametrize(
    ("given", "cautions", "words"),
    [
        ({}, ["never_measured"], ["how good it is was never measured", "Gate: not evaluated."]),
        (
            {"figures": BAD},
            ["below_default_floors"],
            [
                "Not to be relied on: the networks are below the default floors of the gate.",
                "Calcium network: learned from 8 scans; on 3 test scans: F1 0.063, 2 of 17 lesions found, "
                "3.0 mm³ found in calcium-free scans; below the default floors of the gate "
                "(gate.calcium.f1: F1 of all voxels at least 0.6, gate.calcium.lesion_sensitivity: "
                "lesions found at least 0.6)",
                "mean error of the score 811.6",
            ],
        ),
        ({"figures": GOOD}, [], ["the default floors of the gate hold"]),
        ({"figures": GOOD, "verdicts": {"calcium": PROMOTED}}, [], ["Gate: PROMOTE."]),
        (
            {"figures": BAD, "verdicts": {"calcium": PROMOTED | {"answer": "REJECT"}}},
            ["below_default_floors", "rejected_by_gate"],
            ["Gate: REJECT."],
        ),
        (
            {"figures": BAD, "verdicts": {"calcium": SPARED}},
            ["below_default_floors", "floors_not_asked"],
            ["Gate: PROMOTE, 5 floors were not asked, 1 floor was asked for less than the default."],
        ),
        (
            {"verdicts": {"heart": {key: PROMOTED[key] for key in ("answer", "reasons", "patients")}}},
            ["never_measured"],
            ["which floors were asked is not recorded"],
        ),
        (
            {"figures": GOOD | {"false_mm3": None}},
            ["measured_in_part"],
            ["not measured: gate.calcium.false_mm3, mm³ found in calcium"],
        ),
        ({"figures": GOOD | {"kappa": None}}, ["measured_in_part"], ["not measured: gate.kappa, linear κ"]),
        (
            {"figures": GOOD, "sources": {"phantom": 3}},
            ["measured_on_phantoms"],
            ["on 3 test phantoms: "],
        ),
        (
            {"figures": GOOD, "sources": {"phantom": 3, "nifti": 1}},
            [],
            ["on 1 test scan and 3 test phantoms"],
        ),
        ({"figures": GOOD, "weights": "0" * 64}, ["never_measured"], ["never measured"]),
        (
            {"figures": GOOD, "cases": PHANTOMS},
            ["learned_from_phantoms"],
            ["synthetic phantoms", "8 phantoms"],
        ),
        ({"figures": GOOD, "cases": {"dicom": 1, "phantom": 2}}, [], ["learned from 1 scan and 2 phantoms"]),
        (
            {"figures": GOOD, "cases": {}},
            ["origin_not_recorded"],
            ["is not recorded", "must not be believed"],
        ),
    ],
)
def test_the_statement_follows_from_what_is_recorded(given, cautions, words, *, make_build):
    found = state(make_build(**given))
    assert list(found.cautions) == cautions
    assert bool(found.title) == bool(set(cautions) - {"floors_not_asked"})
    for text in words:
        assert text in found.text


def test_networks_that_were_measured_apart_are_not_measured_together(make_build):
    build = make_build(figures=GOOD)
    path = build / "scores" / "metrics.json"
    write_json(path, read_json(path) | {"weights_sha256": {"heart": "0" * 64, "calcium": "1" * 64}})
    found = state(build)
    assert list(found.cautions) == ["never_measured"]
    assert "how good both networks are together was never measured" in found.text


def test_a_model_that_travels_carries_its_quality(make_build, tmp_path):
    build = make_build(figures=BAD)
    for model in ("heart", "calcium"):
        folder = (tmp_path / "elsewhere" / model).parent
        (build / model / "fit").rename(folder.parent / model)
        metrics = read_json(build / model / "evaluation" / "metrics.json")
        carried = ModelQuality(evaluation=evaluation_of(model, metrics))
        weights = sha256_file(tmp_path / model / "weights.safetensors")
        write_json(tmp_path / model / QUALITY, carried.to_json(weights))
    models = {
        model: origin_of(load_scoring_model(str(tmp_path / model), part=model))
        for model in ("heart", "calcium")
    }
    assert list(state_models(models).cautions) == ["below_default_floors", "never_measured"]
    write_json(tmp_path / "heart" / QUALITY, read_json(tmp_path / "heart" / QUALITY) | {"evaluation": [1]})
    with pytest.raises(InputError, match=r"quality\.json is not understood"):
        load_scoring_model(str(tmp_path / "heart"), part="heart")


def test_the_default_floors_are_those_that_are_shipped():
    gate = load_params().gate
    for model in ("heart", "calcium"):
        assert gate_floors(gate, model) == default_floors(model)


def turned(volume: Volume) -> Volume:
    affine = volume.affine @ np.diag([-1.0, 1, 1, 1])
    affine[:3, 3] = (volume.affine @ [volume.shape[0] - 1, 0, 0, 1])[:3]
    return Volume(volume.array[::-1], affine)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("same.nii.gz", lambda volume: volume),
        ("unpacked.nii", lambda volume: volume),
        ("float.nii", lambda volume: volume.with_array(volume.array.astype(np.float32) + np.float32(1e-4))),
        ("turned.nii.gz", turned),
        ("moved.nii.gz", lambda volume: Volume(volume.array, volume.affine + np.eye(4, k=3))),
        (
            "padded.nii.gz",
            lambda volume: volume.with_array(np.where(volume.array < -1010, -3024, volume.array)),
        ),
    ],
)
def test_a_scan_is_known_whatever_file_it_comes_in(name, change, *, make_chest, tmp_path):
    from coronet.io.reader import read_scan

    ct = make_chest(seed=1).ct
    ct = ct.with_array(np.where(ct.array < -1010, np.int16(-1024), ct.array))
    write_nifti(tmp_path / name, change(ct))
    assert content_sha256(read_scan(tmp_path / name).volume) == content_sha256(ct)
    assert content_sha256(ct.with_array(ct.array + np.int16(1))) != content_sha256(ct)


@pytest.mark.parametrize(
    ("scans", "part", "title"),
    [
        ({"train": ["this"], "tune": []}, "train", "The networks were trained on this scan"),
        ({"train": [], "tune": ["this"]}, "tune", "The networks were trained on this scan"),
        ({"train": ["other"], "tune": []}, "none", ""),
        (None, None, ""),
    ],
)
def test_a_scan_that_was_learned_from_is_told_everywhere(
    scans, part, title, *, make_build, make_chest, tmp_path, monkeypatch
):
    ct = make_chest([((20.0, 10.0, 4.0), 350)], seed=1).ct
    names = {"this": content_sha256(ct), "other": content_sha256(make_chest(seed=2).ct)}
    scans = scans and {key: [names[name] for name in value] for key, value in scans.items()}
    build = make_build(figures=GOOD, scans=scans)
    write_nifti(tmp_path / "inbox" / "mine.nii", ct)
    models = ["--models", f"heart={build}/heart/fit,calcium={build}/calcium/fit"]

    def score(*arguments: str) -> str:
        done = CliRunner().invoke(app, ["score", *arguments, *models], catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout

    spoken = score(str(tmp_path / "inbox" / "mine.nii"), "--out", str(tmp_path / "one"))
    answer = read_json(tmp_path / "one" / "score.json")
    page = (tmp_path / "one" / "index.html").read_text()
    batch = score(str(tmp_path / "inbox"), "--batch", "--out", str(tmp_path / "many"))
    [row] = csv.DictReader((tmp_path / "many" / "scores.csv").open())
    assert [answer["models"][model]["scan_part"] for model in ("heart", "calcium")] == [part, part]
    assert ("learned_from_this_scan" in answer["models"]["cautions"]) == bool(title)
    assert spoken.startswith(title) and answer["models"]["statement"].startswith(title)
    assert ('class="worth doubtful"' in page) == bool(title) and title in page
    assert row["learned_from"] == (
        "" if part == "none" else f"heart={part or 'unknown'} calcium={part or 'unknown'}"
    )
    assert ("were in the training of these" in batch) == ("learned from this scan" in batch) == bool(title)
    assert ("which scans were used is not recorded" in spoken) == (part is None)


def test_phantoms_are_told_of_a_scan_that_was_learned_from_too(make_build):
    build = make_build(figures=GOOD, cases=PHANTOMS)
    models = {
        model: origin_of(load_scoring_model(str(build / model / "fit"), part=model))
        for model in ("heart", "calcium")
    }
    found = state_models(models, {"heart": "train", "calcium": "none"})
    assert found.title.startswith("The networks were trained on this scan")
    assert "must not be believed on patients" in found.text
    assert "The heart network learned from this very scan." in found.text


def test_page_json_and_terminal_lead_with_what_a_poor_model_reached(make_build, make_chest, tmp_path):
    build = make_build(figures=BAD, scans={"train": [], "tune": []}, verdicts={"calcium": SPARED})
    write_nifti(tmp_path / "mine.nii", make_chest([((20.0, 10.0, 4.0), 350)]).ct)
    models = ["--models", f"heart={build}/heart/fit,calcium={build}/calcium/fit"]
    command = ["score", str(tmp_path / "mine.nii"), "--out", str(tmp_path / "out"), *models]
    spoken = CliRunner().invoke(app, command, catch_exceptions=False).stdout
    assert spoken.startswith("Not to be relied on")
    assert (
        spoken.index("2 of 17 lesions found")
        < spoken.index("5 floors were not asked")
        < spoken.index("agatston")
    )
    page = (tmp_path / "out" / "index.html").read_text()
    places = [
        page.index(text)
        for text in ('<p class="title">Not to be relied', "2 of 17", 'class="doubtful"', "Agatston")
    ]
    assert places == sorted(places)
    text = (tmp_path / "out" / "score.json").read_text()
    assert text.index("Not to be relied on") < text.index('"scores"')
    models = json.loads(text)["models"]
    assert models["calcium"]["evaluation"]["below_floors"] == ["f1", "lesion_sensitivity"]
    assert models["calcium"]["evaluation"]["figures"]["f1"] == 0.0631
    assert models["calcium"]["gate"]["not_asked"] == SPARED["not_asked"]
    assert models["scores"]["below_floors"] == ["score_error", "kappa"]
    assert models["heart"]["gate"] is None
