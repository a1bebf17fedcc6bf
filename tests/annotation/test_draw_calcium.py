"""`coronet annotate draw --target calcium`: what it refuses at once, prints, and learns from."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from coronet.annotation.annotated_cases import annotation_paths
from coronet.cli import app
from coronet.dataset.cases import mask_path, scan_path, write_facts
from coronet.errors import InputError
from coronet.files import write_json
from coronet.io.scan_facts import ScanFacts
from coronet.io.volume import Volume, grid_affine, read_nifti, write_nifti
from coronet.scoring.calcium_score import score_calcium

CASES = ("c0", "c1", "c2", "c3")
HEAD = {"format": "coronet strokes 1", "target": "calcium"}
PLAQUE, SECOND, WALL, BONE = (15, 20, 10), (16, 26, 10), (25, 20, 10), (20, 20, 18)
"""Places of bright pieces, as voxels."""


def scan(*, seed: int) -> tuple[Volume, np.ndarray]:
    """A ball of a heart in fat with four bright pieces."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*map(np.arange, (40, 40, 22)), indexing="ij")
    heart = ((x - 20) ** 2 + (y - 20) ** 2 + (z - 10) ** 2 < 12**2).astype(np.uint8)
    hu = np.where(heart > 0, 40, -90) + rng.integers(-8, 9, heart.shape)
    hu[14:17, 19:22, 9:12] = 400
    hu[15:18, 25:28, 9:12] = 380
    hu[24:27, 19:21, 9:12] = 350
    hu[20, 14:26, 18] = 600
    return Volume(hu.astype(np.int16), grid_affine((2.0, 2.0, 2.0), (-40.0, -40.0, 30.0))), heart


def stroke(label: str, place: tuple[int, int, int]) -> dict:
    x, y, z = (2.0 * at + start for at, start in zip(place, (-40, -40, 30), strict=True))
    return {"kind": "point", "label": label, "points_mm": [[x, y, z]]}


CORONARY, OTHER, AORTA, BONES = (
    stroke(label, place)
    for label, place in (("coronary", PLAQUE), ("coronary", SECOND), ("aorta", WALL), ("bone", BONE))
)
ALL = {"strokes": [CORONARY, OTHER, AORTA, BONES]}
NOISE = {"kind": "box", "label": "noise", "points_mm": [[-60, -60, 0], [60, 60, 90]]}
FAR = {**CORONARY, "points_mm": [[900, 0, 50]]}
HEART = {"kind": "line", "label": "heart", "points_mm": [[0, 0, 900], [0, 0, 910]]}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four cases with heart masks."""
    for seed, case in enumerate(CASES):
        ct, heart = scan(seed=seed)
        write_facts(tmp_path / "data", case, ScanFacts(patient=case, source="phantom"))
        write_nifti(mask_path(tmp_path / "data", case, "heart"), ct.with_array(heart))
        write_nifti(scan_path(tmp_path / "data", case), ct)
    return tmp_path / "data"


def run(data: Path, *words: str):
    return CliRunner().invoke(app, ["annotate", *words, "--target", "calcium", "--data", str(data)])


def draw(data: Path, case: str, content: dict, *more: str):
    path = data.parent / "strokes.json"
    path.write_text(json.dumps(HEAD | content))
    return run(data, "draw", case, "--strokes", str(path), *more)


def mask(data: Path, case: str) -> np.ndarray:
    return read_nifti(annotation_paths(data, case, "calcium").mask).array


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"strokes": []}, '"none": true'),
        (
            {"strokes": [{"kind": "box", "label": "noise", "points_mm": [[-60, -60, 0], [60, 60, 90]]}]},
            "labels: noise",
        ),
        ({"strokes": [AORTA, BONES]}, "labels: aorta, bone"),
        ({"none": True, "strokes": [CORONARY]}, "stroke 1 (coronary"),
        ({"strokes": [CORONARY, FAR]}, "stroke 2 (coronary"),
        ({"strokes": [{**CORONARY, "label": "Coronary"}]}, "is none of coronary"),
        ({"strokes": [{**CORONARY, "kind": "box"}]}, "a box has 2 points"),
        (
            {"target": "heart", "strokes": [{**CORONARY, "label": "heart"}]},
            "heart mask, not the calcium mask",
        ),
    ],
    ids=["empty", "noise alone", "no coronary", "contradiction", "outside", "label", "open box", "target"],
)
def test_a_wrong_stroke_file_is_refused_before_anything_is_computed(data, monkeypatch, content, words):
    def compute(*_args, **_more):
        raise AssertionError("it was computed")

    monkeypatch.setattr("coronet.annotation.calcium.find_candidates", compute)
    done = draw(data, "c0", content)
    assert isinstance(done.exception, InputError) and words in str(done.exception), done
    assert not (data / "annotations").exists() and not mask_path(data, "c0", "calcium").exists()


def test_none_draws_an_empty_mask(data):
    done = draw(data, "c0", {"none": True}, "--json")
    record = json.loads(done.stdout)
    assert done.exit_code == 0 and not mask(data, "c0").any()
    assert record["strokes"] == {"none": 1} and record["agatston"] == 0
    assert record["tally"]["pieces"] == 0 and record["tally"]["left_out"] == 4
    kept = annotation_paths(data, "c0", "calcium").strokes
    assert json.loads(kept.read_text()) == HEAD | {"none": True}
    assert (
        "calcium of 0 pieces (0 labelled by no stroke), 0.0 mm³, Agatston score 0.0"
        in draw(data, "c0", {"none": True}).output
    )


def test_the_result_is_printed_with_pieces_that_no_stroke_labels(data):
    ct, _ = scan(seed=0)
    score = score_calcium(ct, np.isin(ct.array, (380, 400))).scores.agatston
    done = draw(data, "c0", ALL)
    sizes = f"c0: calcium of 2 pieces (0 labelled by no stroke), 432.0 mm³, Agatston score {score:.1f}"
    assert f"{sizes}; learned from no other scan; only pieces that strokes label are drawn" in done.output
    for case in CASES[1:]:
        done = draw(data, case, ALL)
    assert re.search(
        r"3 other scans; the forest was wrong on \d+ % of the pieces that it had not", done.output
    )
    paths = annotation_paths(data, "c3", "calcium")
    assert f"mask: {paths.mask}\n  picture: {paths.picture}\n" in done.output
    done = draw(data, "c0", {"strokes": [CORONARY, BONES]})
    assert (
        "2 pieces (1 labelled by no stroke), 432.0 mm³" in done.output and "at (-8, 12, 50) mm" in done.output
    )
    assert "bright pieces left out, labelled by no stroke: 1\n" in done.output


def listed(data: Path) -> dict[tuple[float, float, float], dict]:
    """Pieces of the case c0 by their centres."""
    pieces = json.loads(
        CliRunner().invoke(app, ["annotate", "pieces", "c0", "--data", str(data), "--json"]).stdout
    )
    return {tuple(piece["centre_mm"]): piece for piece in pieces}


def test_pieces_are_listed_with_number_place_volume_and_hu(data):
    pieces = listed(data)
    plaque = pieces[(-10.0, 0.0, 50.0)]
    assert (plaque["volume_mm3"], plaque["peak_hu"], plaque["beyond_margin"]) == (216.0, 400, False)
    assert sorted(piece["number"] for piece in pieces.values()) == [1, 2, 3, 4]
    assert pieces == listed(data), "the same numbers every time"
    text = CliRunner().invoke(app, ["annotate", "pieces", "c0", "--data", str(data), "--most", "2"]).output
    assert "c0: 4 bright pieces" in text and "and 2 smaller" in text
    assert f"{plaque['number']:6d}    -10.0      0.0     50.0     216.0      400\n" in text


def test_strokes_may_name_pieces_by_number(data):
    number = {place: piece["number"] for place, piece in listed(data).items()}
    pieces = [
        {"label": "coronary", "piece": number[-10.0, 0.0, 50.0]},
        {"label": "bone", "piece": number[0.0, -1.0, 66.0]},
    ]
    draw(data, "c0", {"strokes": [CORONARY, BONES]})
    clicked = mask(data, "c0")
    assert draw(data, "c0", {"strokes": pieces}).exit_code == 0
    assert clicked.any() and np.array_equal(mask(data, "c0"), clicked)
    kept = json.loads(annotation_paths(data, "c0", "calcium").strokes.read_text())["strokes"]
    assert [stroke["kind"] for stroke in kept] == ["point", "point"], (
        "kept by place: numbers follow the heart"
    )


@pytest.mark.parametrize(
    ("target", "stroke", "words"),
    [
        ("calcium", {"label": "coronary", "piece": 5}, "there is no piece 5; .* pieces 1 to 4"),
        ("calcium", {"label": "coronary", "piece": 0}, '"piece" is a number'),
        ("calcium", {"label": "coronary", "piece": True}, '"piece" is a number'),
        ("calcium", {"label": "coronary", "piece": 1, "kind": "point"}, "nothing else"),
        ("heart", {"label": "heart", "piece": 1}, "only strokes of the calcium mask"),
    ],
)
def test_a_piece_that_is_not_there_is_refused(data, target, stroke, words):
    path = data.parent / "strokes.json"
    path.write_text(json.dumps({**HEAD, "target": target, "strokes": [stroke]}))
    arguments = ["annotate", "draw", "c0", "--target", target, "--data", str(data), "--strokes", str(path)]
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, InputError) and re.search(words, str(done.exception)), done
    assert not mask_path(data, "c0", "calcium").exists()


def test_a_long_wait_is_announced_on_standard_error(data, monkeypatch):
    monkeypatch.setattr("coronet.progress._PATIENCE_S", 0.0)
    done = draw(data, "c0", ALL, "--json")
    assert "drawing the calcium of c0 …" in done.stderr and json.loads(done.stdout)["case"] == "c0"


def test_the_mask_does_not_depend_on_whether_fit_ran_before(data):
    for case in CASES[:3]:
        assert draw(data, case, ALL).exit_code == 0
    some = {"strokes": [CORONARY, BONES]}
    assert draw(data, "c3", some).exit_code == 0
    before = annotation_paths(data, "c3", "calcium").mask.read_bytes()
    assert mask(data, "c3")[SECOND] and run(data, "fit").exit_code == 0
    assert draw(data, "c3", some).exit_code == 0
    assert annotation_paths(data, "c3", "calcium").mask.read_bytes() == before
    done = run(data, "apply", "c3", "--json")
    assert json.loads(done.stdout)[0]["library_scans"] == 3 and mask(data, "c3")[PLAQUE]
    assert "learned from no other scan; only" in draw(data, "c3", some, "--alone").output
    assert not mask(data, "c3")[SECOND]


def test_too_few_scans_draw_no_unlabelled_pieces(data):
    for case in CASES[:2]:
        draw(data, case, ALL)
    assert "in 2 scans; at least 5 coronary pieces" in run(data, "apply", "c3").output
    done = draw(data, "c2", {"strokes": [CORONARY]})
    assert "1 piece (0 labelled by no stroke)" in done.output
    assert "learned from 2 other scans; only pieces that strokes label are drawn" in done.output


def test_stroke_files_of_the_demo_beside_it_are_no_annotations(data):
    write_json(data / "annotations" / "c1" / "calcium.json", HEAD | {"strokes": [BONES]})
    assert draw(data, "c0", {"strokes": [CORONARY]}).exit_code == 0
    assert run(data, "suggest").exit_code == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"target": "heart", "strokes": [HEART]}, "outside the scan"),
        ({"target": "calcium", "strokes": [CORONARY]}, "no heart mask"),
    ],
    ids=["strokes outside", "calcium without a heart"],
)
def test_a_scan_that_is_no_case_is_not_added_in_vain(data, tmp_path, content, words):
    write_nifti(tmp_path / "new.nii.gz", scan(seed=9)[0])
    before = {path for path in data.rglob("*") if path.name != ".salt"}
    write_json(tmp_path / "strokes.json", HEAD | content)
    words_given = f"annotate draw {tmp_path}/new.nii.gz --target {content['target']} --data {data}"
    done = CliRunner().invoke(app, [*words_given.split(), "--strokes", str(tmp_path / "strokes.json")])
    assert isinstance(done.exception, InputError) and words in str(done.exception), done
    assert {path for path in data.rglob("*") if path.name != ".salt"} == before


def test_the_picture_has_room_for_titles_a_scale_and_a_legend(data):
    draw(data, "c0", ALL)
    with Image.open(annotation_paths(data, "c0", "calcium").picture) as picture:
        width, height = picture.size
        legend = np.asarray(picture)[-18:]
    assert width >= 4 * 240 and height > width / 4
    colours = {tuple(colour) for colour in np.unique(legend.reshape(-1, 3), axis=0).tolist()}
    assert {(255, 210, 0), (60, 230, 90), (255, 140, 255)} <= colours, "mask, coronary, bone"
