"""Calcium of known volume and mass: a digital phantom of the QRM type and a scan of the real one."""

from __future__ import annotations

import functools
import importlib.util
import math
import sys
from pathlib import Path

import pytest

REFERENCE = {
    # (size in mm, density in mg/cm³): Agatston score by another program, FQM
    (5.0, 800.0): 402.93965,
    (3.0, 800.0): 88.11328,
    (1.0, 800.0): 6.19174,
    (5.0, 400.0): 238.38214,
    (3.0, 400.0): 69.53805,
    (1.0, 400.0): 0.0,
    (5.0, 200.0): 138.59981,
    (3.0, 200.0): 22.86182,
    (1.0, 200.0): 0.0,
}

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "qrm_phantom.py"


@pytest.fixture(scope="module")
def qrm():
    spec = importlib.util.spec_from_file_location("qrm_phantom", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    module.score_digital = functools.cache(module.score_digital)
    module.score_real = functools.cache(module.score_real)
    yield module
    del sys.modules[spec.name]


def test_the_inserts_hold_what_is_printed_on_the_phantom(qrm):
    assert sum(insert.mass_mg for insert in qrm.INSERTS) == pytest.approx(168.23, abs=0.005)
    volumes = sorted({round(insert.volume_mm3, 3) for insert in qrm.INSERTS})
    assert volumes == [0.785, 21.206, 98.175]


@pytest.mark.parametrize(
    ("spacing", "volume_error", "mass_error"),
    [
        ((0.1, 0.1, 0.1), 0.03, 0.002),
        ((0.2, 0.2, 0.2), 0.06, 0.005),
        ((0.5, 0.5, 1.0), 0.3, 0.05),
        ((0.5, 0.5, 3.0), 0.4, 0.06),
        ((0.7, 0.7, 2.5), 0.45, 0.1),
    ],
)
def test_volume_and_mass_near_the_truth_as_voxels_shrink(qrm, spacing, volume_error, mass_error):
    scores = qrm.score_digital(spacing).scores
    truth = sum(insert.volume_mm3 for insert in qrm.INSERTS)
    # Voxels that calcium fills in part count whole once they reach 130 HU: the volume is never too small.
    assert 0 <= scores.volume_mm3 / truth - 1 <= volume_error
    assert scores.mass_mg == pytest.approx(168.23, rel=mass_error)


def test_each_insert_has_its_own_volume_and_mass(qrm):
    result = qrm.score_digital((0.1, 0.1, 0.1))
    assert len(result.lesions) == len(qrm.INSERTS)
    for insert in qrm.INSERTS:
        lesion = min(result.lesions, key=lambda item: math.dist(item.centre_mm, insert.centre_mm))
        assert lesion.centre_mm == pytest.approx(insert.centre_mm, abs=0.05)
        assert lesion.volume_mm3 == pytest.approx(insert.volume_mm3, rel=0.04 if insert.size_mm > 1 else 0.25)
        assert lesion.mass_mg == pytest.approx(insert.mass_mg, rel=0.05)
        # π/4 mm² is under the smallest area that scores, though volume and mass count it.
        assert (lesion.agatston == 0) == (insert.size_mm == 1)


def test_the_real_phantoms_inserts_are_found_and_weighed(qrm, real_data):
    real = qrm.score_real(real_data / "qrm_calcium_phantom")
    found = {(insert.size_mm, insert.density): lesion for insert, lesion in real.found}
    assert {key for key, lesion in found.items() if lesion is None} <= {(1.0, 200.0), (1.0, 400.0)}
    for insert, lesion in real.found:
        if lesion is None:
            continue
        assert 12 <= lesion.slices[0] <= lesion.slices[1] <= 36
        if insert.size_mm > 1:
            assert lesion.mass_mg == pytest.approx(insert.mass_mg, rel=0.3)
            assert lesion.volume_mm3 > insert.volume_mm3
    for size in (5.0, 3.0):
        scores = [found[size, density].agatston for density in qrm.DENSITIES]
        assert scores == sorted(scores)
    assert real.result.scores.mass_mg == pytest.approx(168.23, rel=0.25)
    assert real.result.groups["aha"] == ">=400"


def test_each_insert_of_the_real_phantom_scores_what_another_program_says(qrm, real_data):
    """Pieces of 8 neighbours in a slice, of 130 HU and 1 mm² or more, by area, weight and spacing / 3 mm."""
    real = qrm.score_real(real_data / "qrm_calcium_phantom")
    scores = qrm.insert_scores(real)
    assert scores == pytest.approx(REFERENCE, abs=5e-4)
    assert real.result.scores.agatston == pytest.approx(sum(REFERENCE.values()), abs=5e-4)
