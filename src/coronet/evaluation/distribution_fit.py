"""Learn how a heart network's features spread over the scans that it learned from."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from coronet.inference.devices import pick_device
from coronet.inference.heart_features import heart_features
from coronet.inference.predict import probabilities
from coronet.networks.factory import LoadedModel, load_model
from coronet.networks.input_distribution import InputDistribution, write_distribution
from coronet.preprocessing.prepared_store import load_prepared, prepared_cases

logger = logging.getLogger("coronet")
_LEAST_TRAIN, _LEAST_TUNE = 20, 5  # scans; fewer do not tell what is unlike them
_MOST = 400  # scans of each part; more change little
_LEEWAY = 1.1  # of the limit over the farthest tune scan


def fit_distribution(prepared: Path, fit: Path, out: Path) -> InputDistribution | None:
    """Fit the distribution on the training scans, set its limit on the tune scans, and write it.

    Args:
        prepared: the heart's prepared cases.
        fit: folder of the heart network.
        out: the file to write.

    Returns:
        What was written; None where the scans do not suffice, and then a file that counts for no weights is
        written, since the stage promises one.
    """
    model = load_model(fit, device=pick_device())
    train, tune = (_features(model, prepared, part) for part in ("train", "tune"))
    if len(train) < _LEAST_TRAIN or len(tune) < _LEAST_TUNE:
        logger.info(
            "Unfamiliar scans are not recognised: %d training and %d tune scans; %d and %d are needed.",
            *(len(train), len(tune), _LEAST_TRAIN, _LEAST_TUNE),
        )
        nothing = np.zeros(1)
        write_distribution(
            out, InputDistribution("", nothing, nothing, np.zeros((1, 1)), 0.0, len(train), len(tune))
        )
        return None
    found = distribution_of(np.stack(train), np.stack(tune), weights_sha256=model.sha256)
    write_distribution(out, found)
    return found


def _features(model: LoadedModel, prepared: Path, part: str) -> list[np.ndarray]:
    """Features of the prepared scans of a part in which a heart was found."""
    spec, found = model.params.input, []
    for case in load_prepared(prepared, prepared_cases(prepared, part)[:_MOST], spec):
        scan_input = case.within(0.0)
        answer = probabilities(model.module, scan_input, spec, device=model.device, overlap=spec.overlap)
        features = heart_features(model, scan_input, answer)
        if features is not None:
            found.append(features)
    return found


def distribution_of(train: np.ndarray, tune: np.ndarray, *, weights_sha256: str) -> InputDistribution:
    """The distribution of features of training scans, with the limit that holds all tune scans.

    Args:
        train: shape (scans, features).
        tune: the same of other scans.
        weights_sha256: of the network.
    """
    from sklearn.covariance import LedoitWolf

    mean, spread = train.mean(axis=0), train.std(axis=0)
    # a feature that never changed would make any change infinite
    spread = np.maximum(spread, 0.01 * float(np.median(spread)) + 1e-6)
    precision = LedoitWolf().fit((train - mean) / spread).precision_
    found = InputDistribution(weights_sha256, mean, spread, precision, 0.0, len(train), len(tune))
    limit = _LEEWAY * max(found.distance(features) for features in tune)
    return InputDistribution(
        weights_sha256, mean, spread, precision, float(f"{limit:.6g}"), len(train), len(tune)
    )
