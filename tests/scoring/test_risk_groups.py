"""Risk groups on numbers between the tables' whole numbers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coronet.errors import InputError, ParamsError
from coronet.scoring.risk_groups import PRESETS, risk_group


@pytest.mark.parametrize(
    ("score", "paper", "aha", "five", "drs"),
    [
        (0, "0", "0", "0", "A0"),
        (0.5, "1-100", "1-99", "1-10", "A1"),
        (10.0, "1-100", "1-99", "1-10", "A1"),
        (10.4, "1-100", "1-99", "11-100", "A1"),
        (99.9, "1-100", "1-99", "11-100", "A1"),
        (100.0, "1-100", "100-399", "11-100", "A2"),
        (math.nextafter(100.0, 200), "1-100", "100-399", "11-100", "A2"),
        (math.nextafter(100.0, 0), "1-100", "100-399", "11-100", "A2"),
        (100.5, "101-300", "100-399", "101-400", "A2"),
        (299.0, "101-300", "100-399", "101-400", "A2"),
        (300.0, "101-300", "100-399", "101-400", "A3"),
        (300.5, ">300", "100-399", "101-400", "A3"),
        (400.0, ">300", ">=400", "101-400", "A3"),
        (400.7, ">300", ">=400", ">400", "A3"),
        (12000.0, ">300", ">=400", ">400", "A3"),
    ],
)
def test_scores_land_where_they_must(score, paper, aha, five, drs):
    found = [risk_group(score, preset) for preset in ("paper", "aha", "five", "cac-drs")]
    assert found == [paper, aha, five, drs]


@pytest.mark.parametrize("score", [math.nan, math.inf, -0.1])
def test_what_is_no_score_has_no_group(score):
    for preset in PRESETS:
        with pytest.raises(InputError, match="no calcium score"):
            risk_group(score, preset)


@pytest.mark.parametrize(
    ("score", "vessels", "expected"), [(0, 0, "A0"), (35, 1, "A1/N1"), (120, 2, "A2/N2"), (1200, 4, "A3/N4")]
)
def test_cac_drs_counts_vessels(score, vessels, expected):
    assert risk_group(score, "cac-drs", vessels=vessels) == expected


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(ParamsError, match='"paper"'):
        risk_group(3, "papers")


@given(st.floats(0, 1e5), st.floats(0, 1e5))
def test_a_higher_score_is_never_in_a_lower_group(one, other):
    for groups in PRESETS.values():
        assert groups.index(min(one, other)) <= groups.index(max(one, other))
