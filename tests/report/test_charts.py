"""Charts are part of a page: no fixed colours, fonts or foreign addresses."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from coronet.report import charts

DRAWINGS = {
    "curves": lambda: charts.curve_chart({"train": ([1, 2, 3], [0.9, 0.5, 0.4])}, ylabel="loss", mark_x=2),
    "scatter": lambda: charts.scatter_chart([0, 40, 900], [0, 60, 700], cuts=(1, 101, 301)),
    "bland_altman": lambda: charts.bland_altman_chart(
        [0, 40, 900], [0, 60, 700], bias=-60.0, limits=(-300.0, 180.0)
    ),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_chart_takes_colours_and_fonts_from_the_page(name):
    drawing = DRAWINGS[name]()
    assert drawing.startswith('<svg class="chart" role="img" aria-label="')
    assert "var(--accent)" in drawing
    assert not re.search(r"#01010\d", drawing)
    assert "font-family" not in drawing
    assert "<style" not in drawing
    assert "http" not in drawing


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_chart_has_the_same_bytes_each_time(name):
    assert DRAWINGS[name]() == DRAWINGS[name]()


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_chart_is_well_formed(name):
    drawing = DRAWINGS[name]().replace("xlink:href", "href")
    assert ET.fromstring(drawing).tag == "svg"


def test_a_chart_of_no_calcium_at_all_can_be_drawn():
    assert "<svg" in charts.scatter_chart([0, 0], [0, 0], cuts=(1, 101, 301))
    assert "<svg" in charts.bland_altman_chart([0, 0], [0, 0], bias=0.0, limits=(0.0, 0.0))


def test_every_point_is_in_the_drawing():
    assert charts.scatter_chart([0, 5, 50, 500], [0, 6, 40, 600], cuts=()).count("fill-opacity: 0.75") == 4
