"""A version carries the calibration of its network, and gives back no other."""

from __future__ import annotations

import pytest

from coronet.errors import LedgerError
from coronet.files import sha256_file
from coronet.networks.calibration import CALIBRATION
from coronet.networks.factory import load_model
from coronet.registry import registration, versions
from coronet.registry.version_quality import load_scoring_model
from made_chests import write_calibration

URI = "models:/calcium/1"


def calibrate(project, **changes):
    fit = project / "build" / "calcium" / "fit"
    return write_calibration(fit.parent, load_model(fit).sha256, **changes)


def loaded(project):
    return load_scoring_model(URI, part="calcium", project=project)


def test_a_version_carries_the_calibration_of_its_weights(tiny):
    path = calibrate(tiny, intercept=1.5)
    version = registration.register_version("calcium", tiny).version
    assert version.tags[versions.CALIBRATION_TAG] == sha256_file(path)
    path.unlink()
    assert load_model(tiny / "build" / "calcium" / "fit").calibration is None
    assert loaded(tiny).calibration.intercept == 1.5


def test_a_version_that_was_registered_before_it_was_calibrated_gets_it_later(tiny):
    registration.register_version("calcium", tiny)
    assert loaded(tiny).calibration is None
    calibrate(tiny, intercept=2.5)
    assert not registration.register_version("calcium", tiny).created
    assert loaded(tiny).calibration.intercept == 2.5
    # what a version has stays: scores by it must not change
    calibrate(tiny, intercept=3.5)
    registration.register_version("calcium", tiny)
    assert loaded(tiny).calibration.intercept == 2.5


def test_a_calibration_of_other_weights_is_not_carried(tiny):
    path = write_calibration(tiny / "build" / "calcium", "0" * 64)
    version = registration.register_version("calcium", tiny).version
    assert versions.CALIBRATION_TAG not in version.tags
    assert path.exists() and loaded(tiny).calibration is None


def test_a_calibration_that_was_changed_in_the_registry_is_refused(tiny):
    calibrate(tiny)
    registration.register_version("calcium", tiny)
    (stored,) = (tiny / "mlruns").rglob(f"artifacts/fit/{CALIBRATION}")
    stored.write_text(stored.read_text().replace("30.0", "29.0"))
    with pytest.raises(LedgerError, match="calibration of calcium version 1 is not the one"):
        loaded(tiny)
