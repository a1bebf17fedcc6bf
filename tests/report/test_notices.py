"""Footers say what the test scans are, and which of the gate's default floors are missed."""

from __future__ import annotations

import pytest

from coronet.files import write_json
from coronet.report.summary import print_summary, read_summary

SUMMARY = {"mean": 0.8, "lowest": 0.7}
SCORES = {
    "cases": 3,
    "heart_dice": SUMMARY,
    "heart_iou": SUMMARY,
    "calcium_voxels": {"f1": 0.06, "iou": 0.03},
    "lesions": {"true": 17, "found": 2, "sensitivity": 2 / 17, "false_per_scan": 1.0},
    "calcium_free": {"cases": 0, "scored_zero": 0},
    "score_error": 811.6,
    "groups": {"names": ["0", "1-100"], "confusion": [[1, 0], [1, 1]]},
    "agreement": {
        "bias": 1.0,
        "limits": [-1.0, 3.0],
        "icc2_1": None,
        "spearman": None,
        "kappa": None,
        "kappa_linear": 0.9,
    },
}


@pytest.mark.parametrize(
    ("sources", "present", "absent"),
    [
        (
            {"dicom": 2, "nifti": 1},
            "figures are of 3 test scans, none of them a phantom; with so few",
            "synthetic",
        ),
        ({"nlst": 40}, "figures are of 40 test scans, none of them a phantom.", "so few"),
        ({"phantom": 3}, "All 3 test scans are phantoms: synthetic.", "none of them"),
        ({"phantom": 1}, "The test scan is a phantom: synthetic.", "none of them"),
        ({"phantom": 2, "dicom": 1}, "2 of the 3 test scans are synthetic phantoms", "none of them"),
        (None, "not recorded whether the test scans are phantoms", "synthetic"),
    ],
)
def test_the_footer_follows_the_sources_of_the_test_scans(sources, present, absent, *, tmp_path, capsys):
    recorded = {} if sources is None else {"sources": sources}
    write_json(tmp_path / "build" / "scores" / "metrics.json", SCORES | recorded)
    print_summary(read_summary(tmp_path))
    printed = " ".join(capsys.readouterr().out.split())
    assert present in printed and absent not in printed
    assert (
        "Below the default floors of the gate: error of the score 812 (gate.score_error wants at most 150)."
        in printed
    )
