"""Slice positions and pixel spacings that are rounded in the header."""

from __future__ import annotations

import math

import numpy as np
import pytest

from coronet.errors import UnreadableScan
from coronet.io.reader import read_scan

COUNT = 17
"""Slices; the patterns that rounding makes of these steps repeat within them."""


def read(folder, write_dicom, picture, *, depths, thickness=5.0, between=None, spacings=("0.7", "0.8")):
    """A scan of slices at these depths; ``spacings`` are taken in turn."""

    def change(dataset, index):
        dataset.ImagePositionPatient = ["-100", "-120", depths[index]]
        dataset.SliceThickness = thickness
        if between is not None:
            dataset.SpacingBetweenSlices = between
        if not isinstance(spacings[0], str):
            dataset.PixelSpacing = list(spacings[index % len(spacings)])

    write_dicom(folder, picture((len(depths), 8, 8)), change=change)
    return read_scan(folder).volume


def written(step: float, decimals: int, rounding, count: int = COUNT, start: float = -50.3125) -> list[str]:
    """Even steps, each written with so many decimals."""
    scale = 10**decimals
    return [
        f"{rounding(round((start + step * index) * scale, 6)) / scale:.{decimals}f}" for index in range(count)
    ]


@pytest.mark.parametrize(
    "row",  # step in mm, decimals, rounding
    [
        (0.625, 1, round),
        (0.625, 1, math.floor),
        (0.625, 1, math.ceil),
        (1.25, 1, round),
        (1.25, 1, math.floor),
        (0.625, 2, round),
        (0.75, 1, round),
        (0.6, 1, round),
        (0.33, 1, round),
        (2.5, 0, round),
        (3.75, 0, math.floor),
    ],
)
@pytest.mark.parametrize("nominal", ["thickness", "neither"])
def test_rounded_positions_are_even_steps(tmp_path, write_dicom, picture, row, nominal):
    step, decimals, rounding = row
    thickness = step if nominal == "thickness" else 5.0
    depths = written(step, decimals, rounding)
    volume = read(tmp_path, write_dicom, picture, depths=depths, thickness=thickness)
    # without a nominal value the step is known as well as the digits at both ends tell
    tolerance = 1e-9 if nominal == "thickness" and decimals < 2 else 10**-decimals / (COUNT - 1)
    assert volume.spacing_mm[2] == pytest.approx(step, abs=tolerance)
    assert volume.shape[2] == COUNT


def half_up(value: float) -> int:
    return math.floor(value + 0.5)


@pytest.mark.parametrize(
    "row",  # step in mm, rounding, slice thickness
    [
        (step, rounding, thickness)
        for step in (0.625, 1.25, 0.75)
        for rounding in (round, half_up)
        for thickness in (None, 5.0)
    ],
)
def test_exact_ties_may_be_rounded_both_ways(tmp_path, write_dicom, picture, row):
    step, rounding, thickness = row
    depths = written(step, 1, rounding, start=-60.0)
    volume = read(tmp_path, write_dicom, picture, depths=depths, thickness=thickness or step)
    assert volume.spacing_mm[2] == pytest.approx(step, abs=0.1 / (COUNT - 1) if thickness else 1e-9)


def test_the_spacing_between_slices_is_a_nominal_step_too(tmp_path, write_dicom, picture):
    depths = written(1.25, 1, round)
    volume = read(tmp_path, write_dicom, picture, depths=depths, between=-1.25)
    assert volume.spacing_mm[2] == pytest.approx(1.25)


def test_digits_coarser_than_half_a_step_are_refused(tmp_path, write_dicom, picture):
    with pytest.raises(UnreadableScan):
        read(tmp_path, write_dicom, picture, depths=written(1.25, 0, round), thickness=1.25)


def test_zeros_behind_the_last_digit_do_not_count(tmp_path, write_dicom, picture):
    depths = [f"{float(depth):.6f}" for depth in written(0.625, 1, round)]
    volume = read(tmp_path, write_dicom, picture, depths=depths, thickness=0.625)
    assert volume.spacing_mm[2] == pytest.approx(0.625)


@pytest.mark.parametrize(
    "row",  # step in mm, decimals, slice that is lost
    [
        (0.625, 1, 1),
        (0.625, 1, COUNT // 2),
        (1.25, 1, 2),
        (1.25, 1, COUNT - 2),
        (2.5, 0, COUNT // 2),
        (0.625, 6, COUNT // 2),
    ],
)
def test_a_lost_slice_is_no_rounding(tmp_path, write_dicom, picture, row):
    step, decimals, lost = row
    depths = written(step, decimals, round)
    del depths[lost]
    with pytest.raises(UnreadableScan, match="missing or unevenly spaced"):
        read(tmp_path, write_dicom, picture, depths=depths, thickness=step)


def test_a_nominal_step_that_does_not_fit_is_not_taken(tmp_path, write_dicom, picture):
    volume = read(tmp_path, write_dicom, picture, depths=written(0.625, 1, round), thickness=0.65, between=1)
    assert volume.spacing_mm[2] == pytest.approx(0.625, abs=0.1 / (COUNT - 1))


def test_a_shift_beyond_the_last_digit_is_refused(tmp_path, write_dicom, picture):
    depths = written(1.25, 1, round)
    depths[COUNT // 2 :] = [f"{float(depth) + 0.2:.1f}" for depth in depths[COUNT // 2 :]]
    with pytest.raises(UnreadableScan, match="missing or unevenly spaced"):
        read(tmp_path, write_dicom, picture, depths=depths, thickness=1.25)


@pytest.mark.parametrize(
    ("spacings", "expected"),
    [
        # rows first; in the fifth digit, in the last that is written, and one written shorter
        ([("0.70315", "0.70315"), ("0.70316", "0.70316")], 0.70315),
        ([("0.68359", "0.68359"), ("0.683594", "0.683594")], 0.683594),
        ([("0.683594", "0.683594"), ("0.6836", "0.6836")], 0.683594),
        ([("0.684", "0.684"), ("0.683594", "0.683594")], 0.683594),
        ([("0.9765625", "0.9765625"), ("0.977", "0.976563")], 0.9765625),
    ],
)
def test_pixel_spacings_that_differ_by_rounding(tmp_path, write_dicom, picture, spacings, expected):
    depths = written(2.5, 1, round)
    volume = read(tmp_path, write_dicom, picture, depths=depths, spacings=spacings)
    assert np.allclose(volume.spacing_mm[:2], expected, rtol=2e-5)
    if spacings[0] != spacings[1] and len(spacings[0][0]) != len(spacings[1][0]):
        assert volume.spacing_mm[0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    "spacings",
    [
        [("0.8", "0.8"), ("0.9", "0.9")],
        [("0.7", "0.7"), ("0.703125", "0.703125")],
        [("0.683594", "0.683594"), ("0.684594", "0.684594")],
        [("0.683", "0.683"), ("0.683594", "0.683594")],
    ],
)
def test_pixel_spacings_that_differ_by_more_are_refused(tmp_path, write_dicom, picture, spacings):
    with pytest.raises(UnreadableScan, match="differ in size or spacing"):
        read(tmp_path, write_dicom, picture, depths=written(2.5, 1, round), spacings=spacings)
