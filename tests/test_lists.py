"""Lists on the command line: one comma between items, each item once and known, or nothing is done."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from coronet.cli import app
from coronet.errors import InputError, ParamsError
from coronet.io.volume import Volume, grid_affine, write_nifti
from coronet.lists import check_list, split_list
from coronet.scoring.calcium_score import score_calcium


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Three vessels of 16 voxels, 0.5 mm pixels and 3 mm slices, of 4 mm² each."""
    monkeypatch.chdir(tmp_path)
    hu, labels = np.full((20, 20, 6), 40, np.int16), np.zeros((20, 20, 6), np.uint8)
    hu[2:6, 2:6, 1], labels[2:6, 2:6, 1] = 250, 1
    hu[10:14, 10:14, 3], labels[10:14, 10:14, 3] = 450, 2
    hu[2:6, 10:14, 3:5], labels[2:6, 10:14, 3:5] = 450, 3
    affine = grid_affine((0.5, 0.5, 3.0), (0, 0, 0))
    write_nifti(tmp_path / "ct.nii.gz", Volume(hu, affine))
    write_nifti(tmp_path / "mask.nii.gz", Volume(labels, affine))
    return tmp_path


def run(*words: str) -> str:
    done = CliRunner().invoke(app, words)
    if done.exception is not None:
        raise done.exception
    return done.stdout


SCORE = ("score", "ct.nii.gz", "--mask", "mask.nii.gz", "--json")
ADD = ("data", "import", "ct.nii.gz")
WRONG = {
    "empty": ("", "is empty"),
    "blank": (" ", "is empty"),
    "comma": (",", "is empty"),
    "first empty": (",1", "is empty"),
    "last empty": ("1,2,", "is empty"),
    "one between empty": ("1,,2", "is empty"),
    "space before": ("1, 2", 'the item " 2" begins or ends with a space'),
    "space after": ("1 ,2", 'the item "1 " begins or ends with a space'),
    "twice": ("1,2,1", '"1" is given twice'),
}
OPTIONS = [
    (*SCORE, "--calcium-labels"),
    (*SCORE, "--vessels"),
    (*ADD, "--calcium", "mask.nii.gz", "--calcium-labels"),
    (*ADD, "--heart", "mask.nii.gz", "--heart-labels"),
]


@pytest.mark.parametrize(("text", "gist"), WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("words", OPTIONS, ids=["score labels", "vessels", "add calcium", "add heart"])
def test_lists_with_odd_items_are_refused(files, words, text, gist):
    with pytest.raises(InputError, match=gist) as caught:
        run(*words, text)
    assert str(caught.value).startswith(words[-1])
    assert not (files / "data").exists()


@pytest.mark.parametrize(
    ("labels", "gist"),
    [
        ("7", "no label 7 in it; there are 1, 2, 3"),
        ("1,7", "no label 7 in it"),
        ("LAD", "no label LAD in it"),
        ("0", "0 is no label"),
        ("01", "01 is no label"),
        ("-1", "-1 is no label"),
        ("256", "256 is no label"),
        ("1.0", "no label 1.0 in it"),
        ("1;2", "no label 1;2 in it"),
    ],
)
def test_unknown_labels_are_refused(files, labels, gist):
    with pytest.raises(InputError, match=gist):
        run(*SCORE, "--calcium-labels", labels)


@pytest.mark.parametrize(("labels", "expected"), [("1", 8), ("1,2", 24), ("3,1", 40), ("1,2,3", 56)])
def test_labels_that_are_named_are_scored(files, labels, expected):
    assert json.loads(run(*SCORE, "--calcium-labels", labels))["scores"]["agatston"] == pytest.approx(
        expected
    )


@pytest.mark.parametrize("second", ["LAD", "lad", "Lad"])
def test_a_vessel_is_named_once(files, second):
    with pytest.raises(InputError, match="is given twice"):
        run(*SCORE, "--vessels", f"LAD,{second},RCA")
    with pytest.raises(InputError, match="vessel names: .* is given twice"):
        score_calcium(
            Volume(np.full((4, 4, 4), 200, np.int16), np.eye(4)),
            np.ones((4, 4, 4), np.uint8),
            vessels={1: "LAD", 2: second},
        )


def test_vessels_share_out_the_whole_score(files):
    text = run("score", "ct.nii.gz", "--mask", "mask.nii.gz", "--vessels", "LM,LAD,RCA")
    assert "LM 8.0, LAD 16.0, RCA 32.0" in text
    assert "agatston 56.0" in text


@pytest.mark.parametrize(
    ("words", "kind", "gist"),
    [
        (("score", "ct.nii.gz", "--calcium-labels", ""), InputError, "go with --mask"),
        ((*ADD, "--calcium-labels", "1"), InputError, "--calcium-labels with --calcium"),
        ((*ADD, "--calcium", "mask.nii.gz", "--heart-labels", "1"), InputError, "--heart-labels goes with"),
        (
            ("score", "ct.nii.gz", "--models", "heart=models:/heart/1,heart=models:/heart/2"),
            InputError,
            "heart=models:/heart/2 is not understood",
        ),
        (("annotate", "apply", "a", "a"), InputError, 'CASE: "a" is given twice'),
        (("annotate", "apply", ""), InputError, "CASE: an item of its list is empty"),
        (("annotate", "suggest", "a", "a"), InputError, 'CASE: "a" is given twice'),
    ],
)
def test_repeated_words_and_lists_without_their_file_are_refused(files, words, kind, gist):
    with pytest.raises(kind, match=gist):
        run(*words)


@pytest.mark.parametrize("key", ["phantom..cases", ".phantom", "phantom.", "."])
def test_a_dotted_key_has_no_empty_part(key):
    with pytest.raises(ParamsError, match="There is no key"):
        run("params", key)


def test_items_are_compared_in_one_unicode_spelling():
    with pytest.raises(InputError, match="also spelt"):
        check_list(["caf\u00e9", "cafe\u0301"], "--labels")
    assert split_list("Right lung,left lung", "--labels") == ("Right lung", "left lung")
    assert split_list(None, "--labels") is None
