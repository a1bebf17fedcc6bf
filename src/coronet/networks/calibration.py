"""What turns a calcium network's probabilities into frequencies: fitted on tune patients, kept with weights.

The stage ``calibrate`` writes ``build/calcium/calibration.json``; a registered version carries it beside its
weights. A calibration of other weights does not count.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from coronet.errors import InputError
from coronet.files import read_json
from coronet.fingerprint import canonical
from coronet.networks.vessel_map import VesselMap

CALIBRATION = "calibration.json"
_FORMAT = 1
_MODEL = "calcium"
_LEAST, _MOST = 1e-3, 1 - 1e-3
"""Where the network's probability is cut before its logit is taken; beyond, 32-bit sigmoids say nothing."""


@dataclasses.dataclass(frozen=True)
class ReliabilityBin:
    """Candidates of similar probability."""

    predicted: float  # mean of their probabilities
    observed: float  # share of them that are calcium in the reference
    candidates: int


@dataclasses.dataclass(frozen=True)
class Reliability:
    """How well probabilities agree with what the candidates turned out to be."""

    candidates: int
    lesions: int  # candidates that are calcium in the reference
    brier: (
        float | None
    )  # mean squared difference of probability and outcome (Brier, Mon Weather Rev 1950;78:1)
    error: float | None  # expected calibration error: |observed - predicted| of the bins, by candidates
    bins: tuple[ReliabilityBin, ...]

    @classmethod
    def of_json(cls, raw: Any) -> Reliability:
        """Out of plain data; raises KeyError or TypeError where they are others."""
        return cls(**{**raw, "bins": tuple(ReliabilityBin(**item) for item in raw["bins"])})


@dataclasses.dataclass(frozen=True)
class Calibration:
    """How to read a calcium network's probabilities.

    The probability that a candidate is calcium is 1 / (1 + exp(-z)), z = ``intercept`` + ``slope`` ·
    logit(network) + ``size_slope`` · ln(mm³): Platt's scaling (Advances in Large Margin Classifiers 1999)
    with the candidate's volume beside the network's probability.

    A lesion of score S that is in both masks measures S with a standard deviation of
    √(``error_root``² · S + (``error_share`` · S)²), the form of repeatability limits (PubMed 18212206).

    Attributes:
        weights_sha256: of the calcium network that it belongs to.
        heart_sha256: of the heart network that found the tune patients' hearts.
        intercept: of the logistic regression.
        slope: of the logit of the network's probability; never negative.
        size_slope: of the natural logarithm of the volume in mm³.
        error_root: in √(Agatston units).
        error_share: without unit.
        missed_per_scan: expected lesions with a score that are no candidate.
        missed_score: mean Agatston score of these.
        scans: tune scans with a reference mask.
        patients: of them.
        measured: lesions in both masks that the measurement error rests on.
        network: reliability of the network's own probability on the tune scans.
        calibrated: the same after calibration, each patient left out of the fit that judges him.
        vessels: where the coronary arteries run; None where no reference mask names them.
    """

    weights_sha256: str
    heart_sha256: str
    intercept: float
    slope: float
    size_slope: float
    error_root: float
    error_share: float
    missed_per_scan: float
    missed_score: float
    scans: int
    patients: int
    measured: int
    network: Reliability
    calibrated: Reliability
    vessels: VesselMap | None = None

    def probability(self, network: np.ndarray, volume_mm3: np.ndarray) -> np.ndarray:
        """Probability that candidates are calcium; all arrays have shape (candidates,).

        Args:
            network: the network's own probability, 0 … 1.
            volume_mm3: of each candidate.
        """
        return logistic(
            np.array([self.intercept, self.slope, self.size_slope]), features(network, volume_mm3)
        )

    def error_sd(self, score: np.ndarray) -> np.ndarray:
        """Standard deviation of the measured scores of lesions, shape of ``score``."""
        return np.asarray(np.sqrt(self.error_root**2 * score + (self.error_share * score) ** 2))

    @property
    def sha256(self) -> str:
        """Of everything that it holds."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """What ``calibration.json`` holds."""
        return {"format": _FORMAT, "fitted": True, **canonical(self)}


def features(network: np.ndarray, volume_mm3: np.ndarray) -> np.ndarray:
    """What the regression sees of candidates, shape (candidates, 3): 1, logit of the probability, ln(mm³)."""
    chance = np.clip(np.asarray(network, dtype=np.float64), _LEAST, _MOST)
    return np.stack([np.ones_like(chance), np.log(chance / (1 - chance)), np.log(volume_mm3)], axis=1)


def logistic(coefficients: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-z)) of z = ``seen`` @ ``coefficients``, shape (candidates,)."""
    from scipy.special import expit

    return np.asarray(expit(seen @ coefficients))


def not_calibrated(reason: str, *, weights_sha256: str, heart_sha256: str) -> dict[str, Any]:
    """What ``calibration.json`` holds where the tune patients do not suffice."""
    return {
        "format": _FORMAT,
        "fitted": False,
        "reason": reason,
        "weights_sha256": weights_sha256,
        "heart_sha256": heart_sha256,
    }


def calibration_path(folder: Path, weights_sha256: str) -> Path | None:
    """Where the calibration of the weights in ``folder`` lies: beside them, or beside ``build/calcium/fit``.

    None where there is none, it is of other weights, or the tune patients did not suffice.

    Raises:
        InputError: the file is not understood.
    """
    folder = Path(folder).resolve()
    places = [folder / CALIBRATION]
    if (folder.parent.name, folder.name) == (_MODEL, "fit"):
        places.append(folder.parent / CALIBRATION)
    path = next((path for path in places if path.is_file()), None)
    if path is None:
        return None
    raw = read_json(path)
    try:
        return path if raw["weights_sha256"] == weights_sha256 and raw["fitted"] else None
    except (KeyError, TypeError) as error:
        raise _not_understood(path, error) from error


def _not_understood(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path} is not understood ({type(error).__name__}: {error}); `dvc repro calibrate` writes it anew."
    )


def read_calibration(folder: Path, weights_sha256: str) -> Calibration | None:
    """The calibration of the weights in ``folder``; None where there is none, or it is of other weights.

    Raises:
        InputError: the file is not understood.
    """
    path = calibration_path(folder, weights_sha256)
    if path is None:
        return None
    try:
        return _calibration(read_json(path))
    except (KeyError, TypeError, ValueError) as error:
        raise _not_understood(path, error) from error


def _calibration(raw: dict[str, Any]) -> Calibration:
    plain = {key: value for key, value in raw.items() if key not in ("format", "fitted")}
    for name in ("network", "calibrated"):
        plain[name] = Reliability.of_json(plain[name])
    if plain.get("vessels") is not None:
        plain["vessels"] = VesselMap.of_json(plain["vessels"])
    found = Calibration(**plain)
    numbers = [value for value in dataclasses.asdict(found).values() if isinstance(value, float)]
    if not np.isfinite(numbers).all() or found.slope < 0:
        raise ValueError("a coefficient is no finite number, or the slope is negative")
    return found


def measure_reliability(
    probability: Sequence[float] | np.ndarray, outcome: Sequence[bool] | np.ndarray
) -> Reliability:
    """Compare probabilities with outcomes, in ten bins of equal width that leave out empty ones.

    Args:
        probability: 0 … 1, shape (candidates,).
        outcome: whether each is calcium in the reference, shape (candidates,).
    """
    chance, true = np.asarray(probability, dtype=np.float64), np.asarray(outcome, dtype=np.float64)
    if not chance.size:
        return Reliability(0, 0, None, None, ())
    place = np.minimum((chance * 10).astype(int), 9)
    bins = tuple(
        ReliabilityBin(
            float(chance[place == at].mean()), float(true[place == at].mean()), int((place == at).sum())
        )
        for at in np.unique(place)
    )
    return Reliability(
        candidates=chance.size,
        lesions=int(true.sum()),
        brier=float(np.mean((chance - true) ** 2)),
        error=sum(abs(item.observed - item.predicted) * item.candidates for item in bins) / chance.size,
        bins=bins,
    )
