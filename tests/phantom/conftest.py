"""Small phantoms, drawn once for all tests of the folder."""

from __future__ import annotations

import functools

import pytest

from coronet.phantom.patients import Window, make_case

SMALL = Window(matrix=160, field_mm=170.0, below_mm=(6.0, 12.0), length_mm=(135.0, 145.0))
"""Little more than the heart, at a clinical resolution."""
SEED = 3


@pytest.fixture(scope="session")
def small_case():
    """The case of an index, drawn at its first use."""
    return functools.cache(lambda index: make_case(SEED, index, window=SMALL))
