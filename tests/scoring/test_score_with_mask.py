"""The calculator from the command line: scan file and mask file in, one answer out."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from coronet.cli import app
from coronet.errors import InputError, ParamsError
from coronet.io.volume import Volume, grid_affine, write_nifti


def run(*words) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception is not None:
        raise done.exception
    return done.stdout


@pytest.fixture
def files(tmp_path):
    """Two vessels: 16 voxels of 250 HU and 16 of 450 HU, 0.5 mm pixels and 3 mm slices: 8 + 16."""
    array = np.full((20, 20, 5), 40, np.int16)
    array[2:6, 2:6, 1] = 250
    array[10:14, 10:14, 3] = 450
    mask = np.zeros(array.shape, np.uint8)
    mask[2:6, 2:6, 1], mask[10:14, 10:14, 3] = 2, 4
    affine = grid_affine((0.5, 0.5, 3.0), (0, 0, 0))
    write_nifti(tmp_path / "ct.nii.gz", Volume(array, affine))
    write_nifti(tmp_path / "mask.nii.gz", Volume(mask, affine))
    return tmp_path


def test_a_mask_is_scored_without_a_model(files):
    answer = json.loads(run("score", files / "ct.nii.gz", "--mask", files / "mask.nii.gz", "--json"))
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
    assert answer["scores"]["agatston"] == pytest.approx(24)
    assert answer["scores"]["mass_mg"] is None
    assert answer["groups"]["paper"] == "1-100"
    assert [lesion["agatston"] for lesion in answer["lesions"]] == pytest.approx([16, 8])
    assert answer["models"] == {}
    assert answer["uncertainty"] is None
    assert "uncertainty" not in run("score", files / "ct.nii.gz", "--mask", files / "mask.nii.gz")
    assert answer["protocol"]["name"] == "coronet"


def test_vessel_labels_are_counted(files):
    answer = json.loads(
        run("score", files / "ct.nii.gz", "--mask", files / "mask.nii.gz", "--labels", "--json")
    )
    assert [lesion["vessel"] for lesion in answer["lesions"]] == ["RCA", "LAD"]
    assert answer["groups"]["cac-drs"] == "A1/N2"
    named = run("score", files / "ct.nii.gz", "--mask", files / "mask.nii.gz", "--vessels", "A,B,C,D")
    assert "B 8.0, C 0.0, D 16.0" in named


def test_protocol_method_and_calibration_are_options(files):
    scan = ("score", files / "ct.nii.gz", "--mask", files / "mask.nii.gz", "--json")
    thick = json.loads(run(*scan, "--protocol", "molloi"))
    assert thick["scores"]["agatston"] == pytest.approx(24)
    weighted = json.loads(run(*scan, "--method", "volume_weighted", "--calibration", "0.001"))
    assert weighted["scores"]["volume_weighted"] == pytest.approx(16 * 0.75 * (2 + 4))
    assert weighted["scores"]["mass_mg"] == pytest.approx(16 * 0.75 * 0.7)
    assert weighted["protocol"]["method"] == "volume_weighted"
    one = json.loads(run(*scan, "--calcium-labels", "4"))
    assert one["scores"]["agatston"] == pytest.approx(16)


def test_the_answer_is_written_where_asked(files):
    run("score", files / "ct.nii.gz", "--mask", files / "mask.nii.gz", "--out", files / "answer")
    written = json.loads((files / "answer" / "score.json").read_text())
    assert written["scores"]["agatston"] == pytest.approx(24)
    assert str(files) not in json.dumps(written)


def test_a_scan_stored_the_other_way_round_scores_the_same(files):
    import nibabel

    image = nibabel.load(files / "ct.nii.gz")
    turned = image.as_reoriented([[1, -1], [2, 1], [0, -1]])
    nibabel.save(turned, files / "turned.nii.gz")
    scan = ("--mask", files / "mask.nii.gz", "--json")
    straight, other = (
        json.loads(run("score", files / name, *scan)) for name in ("ct.nii.gz", "turned.nii.gz")
    )
    assert straight == other


def test_wrong_choices_are_refused(files):
    scan = ("score", files / "ct.nii.gz", "--mask", files / "mask.nii.gz")
    with pytest.raises(ParamsError, match='"deepcac"'):
        run(*scan, "--protocol", "deepcacs")
    with pytest.raises(ParamsError, match="calibration factor"):
        run(*scan, "--method", "mass")
    with pytest.raises(InputError, match="do not go together"):
        run(*scan, "--labels", "--calcium-labels", "4")


def test_all_protocols_make_one_table(files):
    scan = ("score", files / "ct.nii.gz", "--mask", files / "mask.nii.gz", "--labels", "--protocol", "all")
    answer = json.loads(run(*scan, "--out", files / "all", "--json"))
    one = {
        name: json.loads(run(*scan[:-1], name, "--json"))
        for name in ("coronet", "deepcac", "ai-cac", "molloi")
    }
    found = {row["protocol"]: row for row in answer.pop("protocols")}
    assert set(found) == {*one, "orcascore"}
    for name, alone in one.items():
        assert found[name]["agatston"] == alone["scores"]["agatston"]
        assert found[name]["groups"] == alone["groups"]
    assert answer == one["coronet"]
    lines = run(*scan).splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith("protocol"))
    assert [line.split()[0] for line in lines[head + 1 :]] == list(found)
    table = (files / "all" / "protocols.csv").read_text().splitlines()
    assert table[0].startswith("protocol,agatston,") and len(table) == 6


def test_two_columns_are_compared_from_the_command_line(tmp_path):
    rows = "".join(f"{row},{row * 11},{row * 12}\n" for row in range(40))
    (tmp_path / "table.csv").write_text(f"id,reference,predicted\n{rows}")
    answer = json.loads(run("agreement", tmp_path / "table.csv", "--groups", "aha", "--json"))
    assert answer["groups"] == "aha"
    assert answer["spearman"] == pytest.approx(1)
    assert answer["bias"] == pytest.approx(19.5)
    text = run("agreement", tmp_path / "table.csv", "--out", tmp_path / "out", "--resamples", "20")
    assert "bias, predicted − reference" in text
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "agreement.json",
        "agreement.png",
        "agreement.svg",
    }
