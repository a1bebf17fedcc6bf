"""The closing table: figures that say what they are worth, and no more digits than they have."""

from __future__ import annotations

import pytest

from coronet.files import write_json
from coronet.report.page import number, signed
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
