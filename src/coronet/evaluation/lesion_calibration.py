"""Calibrate a calcium network on tune patients: probabilities, measurement error, missed lesions.

The map of the vessels is learned beside it, from the references of training patients.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from coronet.dataset.cases import find_case, find_reference, load_mask
from coronet.errors import UnsuitableScan
from coronet.evaluation.candidate_outcomes import CandidateOutcomes, candidate_outcomes, pool
from coronet.evaluation.vessel_fit import fit_vessels
from coronet.files import write_json
from coronet.fingerprint import canonical
from coronet.inference.devices import pick_device
from coronet.io.volume import read_nifti
from coronet.networks.calibration import (
    Calibration,
    features,
    logistic,
    measure_reliability,
    not_calibrated,
)
from coronet.networks.factory import load_model
from coronet.scoring.predicted_masks import predict_masks
from coronet.scoring.protocol import Protocol

if TYPE_CHECKING:
    from coronet.dataset.split import Split

logger = logging.getLogger("coronet")

_LEAST_LESIONS, _LEAST_PATIENTS = 8, 3
_PRIOR = np.array([0.0, 1.0, 0.0])  # the network's own probability
_PRIOR_SD = np.array([2.0, 1.0, 0.5])
"""How far the coefficients go where few lesions ask for it; a hundred candidates outweigh it."""


def calibrate_model(
    data: Path,
    split: Split,
    *,
    heart_fit: Path,
    calcium_fit: Path,
    out: Path,
    protocol: Protocol,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Fit the calibration on the tune patients, with the hearts that the heart network finds, and write it.

    Args:
        data: the cohort's folder.
        split: names tune and training patients; test patients are not read.
        heart_fit: folder of the heart model.
        calcium_fit: folder of the calcium model.
        out: ``calibration.json``. Where the tune patients do not suffice it says so, and the network gives
            no interval.
        protocol: rules of the scores.
        progress: called with (cases done, cases in all).

    Returns:
        What was written.
    """
    device = pick_device()
    heart, calcium = (load_model(folder, device=device) for folder in (heart_fit, calcium_fit))
    tuned = sorted((item.case, item.patient) for item in split.members if item.part == "tune")
    found: dict[str, list[CandidateOutcomes]] = {}
    for done, (name, patient) in enumerate(tuned, start=1):
        case = find_case(data, name)
        reference = find_reference(case, "calcium")
        if reference is not None:
            ct = read_nifti(case.ct)
            try:
                candidates = predict_masks(ct, heart, calcium).candidates
            except UnsuitableScan:
                logger.info("%s: no heart was found, so that it has no candidates to calibrate by", name)
            else:
                truth = load_mask(reference.path, ct)
                found.setdefault(patient, []).append(candidate_outcomes(ct, candidates, truth, protocol))
        if progress:
            progress(done, len(tuned))
    written = fit_calibration(found, weights_sha256=calcium.sha256, heart_sha256=heart.sha256)
    if written["fitted"]:
        vessels = fit_vessels(data, split)
        written["vessels"] = None if vessels is None else canonical(vessels)
    write_json(out, written)
    return written


def fit_calibration(
    outcomes: Mapping[str, Sequence[CandidateOutcomes]], *, weights_sha256: str, heart_sha256: str
) -> dict[str, Any]:
    """What ``calibration.json`` holds, fitted on scans by patient.

    Three coefficients are fitted by penalised likelihood: the penalty draws them to the network's own
    probability, so that few lesions change it little. The slope is never negative, so a candidate of the same
    size never loses by a higher probability of the network.
    """
    scans = [item for patient in outcomes.values() for item in patient]
    lesions = sum(int(item.true.sum()) for item in scans)
    measured = sum(len(item.measured) for item in scans)
    if min(lesions, measured) < _LEAST_LESIONS or len(outcomes) < _LEAST_PATIENTS:
        reason = (
            f"{len(outcomes)} tune patients with {min(lesions, measured)} lesions found; a calibration needs "
            f"at least {_LEAST_PATIENTS} and {_LEAST_LESIONS}"
        )
        logger.warning("The calcium network is not calibrated: %s. Its scores have no interval.", reason)
        return not_calibrated(reason, weights_sha256=weights_sha256, heart_sha256=heart_sha256)
    together = pool(scans)
    coefficients = fit_logistic(features(together.network, together.volume_mm3), together.true)
    root, share = fit_measurement_error(together.measured)
    missed, missed_score = estimate_missed(together, scans=len(scans))
    fitted = Calibration(
        weights_sha256=weights_sha256,
        heart_sha256=heart_sha256,
        intercept=float(coefficients[0]),
        slope=float(coefficients[1]),
        size_slope=float(coefficients[2]),
        error_root=root,
        error_share=share,
        missed_per_scan=missed,
        missed_score=missed_score,
        scans=len(scans),
        patients=len(outcomes),
        measured=len(together.measured),
        network=measure_reliability(together.network, together.true),
        calibrated=measure_reliability(*_held_out(outcomes)),
    )
    # the last bits of a network's probability differ between processors
    rounded: dict[str, Any] = _rounded(fitted.to_json())
    return rounded


def _rounded(value: Any) -> Any:
    """Plain data with six significant digits."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def fit_logistic(seen: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Coefficients of a logistic regression, drawn to the network's probability; the slope is not negative.

    Args:
        seen: of `coronet.networks.calibration.features`, shape (candidates, 3).
        true: whether each candidate is calcium, shape (candidates,).

    Returns:
        Intercept, slope and size slope, shape (3,).
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    sign = np.where(true, 1.0, -1.0)

    def loss(coefficients: np.ndarray) -> tuple[float, np.ndarray]:
        pull = (coefficients - _PRIOR) / _PRIOR_SD
        margin = sign * (seen @ coefficients)
        value = np.logaddexp(0, -margin).sum() + (pull**2).sum() / 2
        return float(value), pull / _PRIOR_SD - seen.T @ (sign * expit(-margin))

    found = minimize(
        loss, _PRIOR, jac=True, method="L-BFGS-B", bounds=[(None, None), (0.0, None), (None, None)]
    )
    return np.asarray(found.x)


def fit_measurement_error(measured: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """a in √(Agatston units) and b of sd = √(a²·S + (b·S)²), by least squares of the squared differences.

    Args:
        measured: (score found, score of the reference) of each lesion; scores found are above 0.
    """
    from scipy.optimize import nnls

    score, reference = np.array(measured, dtype=np.float64).T
    # (difference)² / S = a² + b²·S; a larger lesion's value spreads more, by about its size
    weight = 1 / (np.median(score) + score)
    columns = np.stack([np.ones_like(score), score], axis=1) * weight[:, None]
    root, share = nnls(columns, (reference - score) ** 2 / score * weight)[0]
    return float(np.sqrt(root)), float(np.sqrt(share))


def estimate_missed(together: CandidateOutcomes, *, scans: int) -> tuple[float, float]:
    """Lesions a scan that are no candidate, and their mean score.

    The rate is the mean under Jeffreys' prior of a Poisson rate, (missed + ½) / scans, so that a few scans
    without a missed lesion do not rule one out. The half lesion scores like the mean lesion found.
    """
    prior, found = 0.5, [reference for _, reference in together.measured]
    rate = (len(together.missed) + prior) / scans
    score = (sum(together.missed) + prior * float(np.mean(found))) / (len(together.missed) + prior)
    return rate, score


def _held_out(outcomes: Mapping[str, Sequence[CandidateOutcomes]]) -> tuple[np.ndarray, np.ndarray]:
    """Calibrated probabilities and outcomes of candidates, each patient left out of the fit that judges."""
    chances, true = [], []
    for patient, own in outcomes.items():
        others = pool([item for name, items in outcomes.items() if name != patient for item in items])
        coefficients = fit_logistic(features(others.network, others.volume_mm3), others.true)
        judged = pool(own)
        chances.append(logistic(coefficients, features(judged.network, judged.volume_mm3)))
        true.append(judged.true)
    return np.concatenate(chances), np.concatenate(true)
