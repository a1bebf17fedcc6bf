"""`coronet annotate` on a data folder: what it writes, what it refuses, and what suggestions are worth."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from coronet.annotation.annotated_cases import annotate_case, annotation_paths, fit_library
from coronet.annotation.heart import PreparedChest, draw_heart
from coronet.annotation.stroke_voxels import mark_strokes
from coronet.annotation.strokes import Stroke, Strokes, write_strokes
from coronet.annotation.suggestions import suggest, uncertain_slices
from coronet.cli import app
from coronet.dataset.cases import scan_path, write_facts
from coronet.errors import CoronetError, InputError
from coronet.files import sha256_file
from coronet.io.scan_facts import ScanFacts
from coronet.io.volume import Volume, grid_affine, read_nifti, write_nifti


@pytest.fixture(scope="module")
def project(tmp_path_factory, chests, short_lines):
    """A folder with two scans in ``data`` and a stroke file for each."""
    folder = tmp_path_factory.mktemp("project")
    for number, chest in enumerate(chests[:2]):
        write_facts(folder / "data", f"c{number}", ScanFacts(patient=f"p{number}", source="phantom"))
        write_nifti(scan_path(folder / "data", f"c{number}"), chest.ct)
        write_strokes(folder / f"c{number}.json", short_lines(chest))
    return folder


@pytest.fixture
def data(project, tmp_path):
    return shutil.copytree(project, tmp_path, dirs_exist_ok=True) / "data"


@pytest.fixture(scope="module")
def annotated_project(project, tmp_path_factory):
    """The same with a heart drawn in the first scan, and the record that the command printed."""
    folder = shutil.copytree(project, tmp_path_factory.mktemp("annotated"), dirs_exist_ok=True)
    strokes, data = str(folder / "c0.json"), str(folder / "data")
    run = CliRunner().invoke(app, ["annotate", "draw", "c0", "--strokes", strokes, "--data", data, "--json"])
    assert run.exit_code == 0, run.output
    return folder, json.loads(run.stdout)


@pytest.fixture
def annotated(annotated_project, tmp_path):
    return shutil.copytree(annotated_project[0], tmp_path, dirs_exist_ok=True) / "data"


def test_draw_fit_apply_suggest(annotated_project, annotated, tmp_path, chests):
    runner, data, record = CliRunner(), annotated, annotated_project[1]
    where = annotation_paths(data, "c0", "heart")
    assert json.loads(where.record.read_text())["scan_sha256"] == sha256_file(scan_path(data, "c0"))
    assert record["mask_sha256"] == sha256_file(where.mask)
    assert record["strokes_sha256"] == sha256_file(where.strokes) == sha256_file(tmp_path / "c0.json")
    assert record["strokes"] == {"background": 5, "heart": 3}
    assert 0.5 < record["out_of_bag"] <= 1 and len(record["features"]) > 30
    assert record["mask_ml"] == pytest.approx(
        (read_nifti(where.mask).array > 0).sum() * chests[0].ct.voxel_mm3 / 1000, abs=0.01
    )
    assert where.picture.read_bytes().startswith(b"\x89PNG")
    for path in (where.probability, where.uncertainty):
        assert read_nifti(path).same_grid(chests[0].ct)
    assert runner.invoke(app, ["annotate", "fit", "--data", str(data)]).exit_code == 0
    assert runner.invoke(app, ["annotate", "apply", "c1", "--data", str(data)]).exit_code == 0
    drawn, truth = read_nifti(annotation_paths(data, "c1", "heart").mask).array > 0, chests[1].heart
    assert 2 * (drawn & truth).sum() / (drawn.sum() + truth.sum()) > 0.75
    run = runner.invoke(app, ["annotate", "suggest", "--data", str(data), "--json"])
    found = json.loads(run.stdout)
    assert {item["case"] for item in found} == {"c0", "c1"}
    assert found[0]["uncertain_ml"] >= found[1]["uncertain_ml"]
    # Nothing but DVC's own folders, the annotations and the scans' lock may be in a data folder.
    assert {path.name for path in data.iterdir()} == {"ct", "masks", "annotations"}


def test_another_mask_is_kept_without_replace(data, tmp_path, chests):
    mask = annotation_paths(data, "c0", "heart").mask
    write_nifti(mask, chests[0].ct.with_array(chests[0].heart.astype(np.uint8)))
    before = mask.read_bytes()
    with pytest.raises(InputError, match="--replace"):
        annotate_case(data, "c0", "heart", strokes=tmp_path / "c0.json")
    assert mask.read_bytes() == before and not (data / "annotations").exists()
    annotate_case(data, "c0", "heart", strokes=tmp_path / "c0.json", replace=True)
    assert mask.read_bytes() != before
    write_nifti(mask, chests[0].ct.with_array(chests[0].heart.astype(np.uint8)))
    with pytest.raises(InputError, match="changed since"):
        annotate_case(data, "c0", "heart", strokes=tmp_path / "c0.json")


def test_the_same_strokes_as_labels_draw_the_same_mask_anew(annotated, tmp_path, chests, short_lines):
    data = annotated
    first = annotation_paths(data, "c0", "heart").mask.read_bytes()
    labels = mark_strokes(short_lines(chests[0]), chests[0].ct).painted(chests[0].ct.shape)
    write_nifti(tmp_path / "labels.nii.gz", chests[0].ct.with_array(labels))
    record = annotate_case(data, "c0", "heart", strokes=tmp_path / "labels.nii.gz")
    assert annotation_paths(data, "c0", "heart").mask.read_bytes() == first
    assert not annotation_paths(data, "c0", "heart").strokes.exists()
    assert record.strokes_sha256 == sha256_file(annotation_paths(data, "c0", "heart").label_strokes)


def test_what_is_not_there_is_named(data):
    with pytest.raises(InputError, match="coronet annotate draw"):
        fit_library(data, "heart")
    with pytest.raises(InputError, match="no other scan has heart strokes"):
        annotate_case(data, "c0", "heart", strokes=None)
    with pytest.raises(InputError, match="annotate apply c0"):
        suggest(data, "heart", cases=("c0",))
    with pytest.raises(CoronetError, match="absent"):
        annotate_case(data, "c9", "heart", strokes=None)


def test_the_most_uncertain_slices_are_named_apart():
    doubt = np.zeros((30, 30, 40), np.uint8)
    doubt[5:15, 5:15, 10], doubt[5:14, 5:15, 11], doubt[20:24, 3:9, 30] = 80, 80, 90
    found = uncertain_slices(Volume(doubt, grid_affine((2.0, 2.0, 3.0), (0.0, 0.0, 100.0))), 3)
    assert [place.z for place in found] == [10, 30]
    assert found[0].uncertain_mm2 == pytest.approx(80 / 100 * 100 * 4)
    assert found[0].z_mm == 130.0
    x, y, z = found[0].centre_mm
    assert 10 <= x <= 28 and 10 <= y <= 28 and z == 130.0


@pytest.mark.slow
def test_strokes_where_suggested_beat_strokes_anywhere(chests, short_lines):
    """Two further clicks with true labels: at the suggested places, or anywhere around the first mask."""

    def clicks_at(chest, places_mm):
        inverse = np.linalg.inv(chest.ct.affine)
        clicks = []
        for place in places_mm:
            index = tuple(np.rint(inverse @ [*place, 1])[:3].astype(int))
            clicks.append(Stroke("heart" if chest.heart[index] else "background", "point", (place,), 4.0))
        return tuple(clicks)

    def dice(mask, chest):
        mask = mask > 0
        return 2 * (mask & chest.heart).sum() / (mask.sum() + chest.heart.sum())

    gained = {"suggested": [], "random": []}
    for chest in chests:
        first = short_lines(chest, shares=(0.5,))
        prepared = PreparedChest.of(chest.ct)
        drawn = draw_heart(chest.ct, first, chest=prepared)
        doubt = chest.ct.with_array(drawn.uncertainty)
        best = [place.centre_mm for place in uncertain_slices(doubt, 2)]
        near = np.argwhere((drawn.probability > 0) & (drawn.probability < 100) | (drawn.mask > 0))
        choices = {"suggested": [best], "random": []}
        for seed in range(2):
            picked = np.random.default_rng(seed).choice(len(near), 2, replace=False)
            world = [(chest.ct.affine @ [*near[at], 1])[:3] for at in picked]
            choices["random"].append([tuple(round(float(v), 1) for v in place) for place in world])
        for name, sets in choices.items():
            for places_mm in sets:
                strokes = Strokes("heart", first.strokes + clicks_at(chest, places_mm))
                more = draw_heart(chest.ct, strokes, chest=prepared)
                gained[name].append(dice(more.mask, chest) - dice(drawn.mask, chest))
    assert np.mean(gained["suggested"]) > np.mean(gained["random"]), gained
