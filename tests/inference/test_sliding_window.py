"""Covering a scan with windows."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coronet.inference.sliding_window import sliding_window, window_starts


@settings(max_examples=100, deadline=None)
@given(length=st.integers(1, 300), window=st.integers(4, 64), overlap=st.floats(0, 0.8))
def test_windows_cover_an_axis_with_the_overlap_asked(length, window, overlap):
    first = window_starts(length, window, overlap)
    assert first[0] == 0
    if length > window:
        assert first[-1] == length - window
        gaps = [b - a for a, b in itertools.pairwise(first)]
        assert max(gaps) <= max(1, window * (1 - overlap)) + 1


@pytest.mark.parametrize("shape", [(20, 24, 18), (8, 8, 8), (5, 30, 7)])
@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_an_identity_comes_back_as_it_was(shape, overlap):
    values = torch.rand(shape)
    back = sliding_window(values, lambda tiles: tiles, window=(8, 8, 8), overlap=overlap, batch=3, fill=-1.0)
    assert torch.allclose(back, values, atol=1e-5)


def test_what_lies_outside_is_filled_with_air():
    seen = []

    def look(tiles):
        seen.append(tiles)
        return tiles

    sliding_window(torch.zeros(4, 8, 8), look, window=(8, 8, 8), overlap=0, batch=1, fill=-1.0)
    assert (seen[0][0, 0, :2] == -1).all()
    assert (seen[0][0, 0, 2:6] == 0).all()


def test_windows_without_wanted_voxels_are_skipped():
    calls = []

    def count(tiles):
        calls.append(len(tiles))
        return torch.ones_like(tiles)

    wanted = torch.zeros(32, 8, 8, dtype=torch.bool)
    wanted[30, 4, 4] = True
    answer = sliding_window(
        torch.zeros(32, 8, 8), count, window=(8, 8, 8), overlap=0, batch=8, fill=0.0, wanted=wanted
    )
    assert sum(calls) == 1
    assert answer[:24].sum() == 0
    assert (answer[24:] == 1).all()
