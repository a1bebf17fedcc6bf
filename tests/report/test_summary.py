"""The closing table: figures that say what they are worth, and no more digits than they have."""

from __future__ import annotations

import json

import pytest

from coronet.errors import StageError
from coronet.files import write_json
from coronet.json_lines import append_line
from coronet.report.html_page import number, signed
from coronet.report.summary import read_summary

SPREAD = {"mean": 0.9, "lowest": 0.8, "median": 0.9, "cases": 13, "empty": 0}


def figures_of(folder, confusion, **agreement) -> dict[str, str]:
    """The summary of a score stage whose groups were confused so."""
    known = {
        "bias": 1.5,
        "limits": [-2.0, 5.0],
        "icc2_1": 0.9,
        "spearman": 0.9,
        "kappa": 1,
        "kappa_linear": 1,
    }
    write_json(
        folder / "build" / "scores" / "metrics.json",
        {
            "cases": 13,
            "groups": {"names": ["0", "1-100"], "confusion": confusion},
            "agreement": known | agreement,
            "lesions": {"sensitivity": 1.0, "true": 3, "false_per_scan": 0.0},
            "calcium_free": {"cases": 4, "scored_zero": 4},
            "calcium_voxels": {"f1": 0.9, "iou": 0.8},
            "heart_dice": SPREAD,
            "heart_iou": SPREAD,
        },
    )
    return {figure.name: figure.value for figure in read_summary(folder).figures}


@pytest.mark.parametrize(
    ("confusion", "expected"),
    [
        ([[4, 0], [0, 9]], "13 of 13 (75%)"),
        ([[4, 1], [2, 6]], "10 of 13 (46%)"),
        ([[0, 1], [1, 0]], "0 of 2 (0%)"),
    ],
)
def test_the_share_in_the_same_group_has_its_bound(tmp_path, confusion, expected):
    assert figures_of(tmp_path, confusion)["same risk group (95 %: at least)"] == expected


def test_what_rounding_leaves_is_zero(tmp_path):
    noise = -2.2e-16
    figures = figures_of(tmp_path, [[4, 0], [0, 9]], bias=noise, limits=[noise, noise], kappa=noise)
    assert figures["Agatston, bias (95 % limits)"] == "+0.0 (0.0 … 0.0)"
    assert figures["risk groups, κ · linear κ"] == "0.000 · 1.000"
    assert (number(noise, 3), signed(noise, 1), signed(-0.04)) == ("0.000", "+0.0", "+0")


@pytest.mark.parametrize(
    "torn", [b'{"stage": "sc', b'{"stage": "score"}', b'{"stage": "score", "seconds": "6', b"\xc3"]
)
def test_a_torn_line_of_the_timings_does_not_hide_the_others(tmp_path, torn, caplog):
    figures_of(tmp_path, [[4, 0], [0, 9]])
    timings = tmp_path / "mlruns" / "timings.jsonl"
    append_line(timings, {"stage": "train@heart", "seconds": 90})
    timings.write_bytes(timings.read_bytes() + torn)
    assert read_summary(tmp_path).minutes == (("train@heart", 1.5),)
    append_line(timings, {"stage": "score", "seconds": 30})
    assert read_summary(tmp_path).minutes == (("train@heart", 1.5), ("score", 0.5))
    assert "passed over: 1" in caplog.text


def test_the_tables_are_printed_in_ascii_too(tmp_path, coronet):
    figures_of(tmp_path, [[4, 0], [0, 9]])
    done = coronet(tmp_path, "summary", PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and not done.stderr
    assert "risk groups, kappa" in done.stdout and "-> 1-100" in done.stdout
    append_line(tmp_path / "mlruns" / "timings.jsonl", {"stage": "score", "seconds": 30})
    done = coronet(tmp_path, "summary", "--json", PYTHONIOENCODING="ascii")
    assert json.loads(done.stdout)["minutes"] == [["score", 0.5]]
    assert any("κ" in item["name"] for item in json.loads(done.stdout)["figures"])


@pytest.mark.parametrize("content", [{}, [], {"groups": {"confusion": [[1]], "names": ["0"]}}])
def test_damaged_scores_are_named(tmp_path, content):
    write_json(tmp_path / "build" / "scores" / "metrics.json", content)
    with pytest.raises(StageError, match=r"metrics.json is damaged.*dvc repro score"):
        read_summary(tmp_path)
