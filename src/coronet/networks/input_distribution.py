"""What a heart network's features look like on the scans that it learned from, and how far a scan lies off.

The distance is Mahalanobis' with a shrunk covariance (Ledoit and Wolf, J Multivar Anal 2004;88:365), as Lee
et al. (NeurIPS 2018, arXiv 1807.03888) use it to find input that is unlike what was learned. The stage
``calibrate`` writes ``build/heart/distribution.safetensors``; it counts for the weights that it names alone.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from coronet.errors import InputError

DISTRIBUTION = "distribution.safetensors"
_MODEL = "heart"


@dataclasses.dataclass(frozen=True, eq=False)
class InputDistribution:
    """Features of the scans that were learned from.

    Attributes:
        weights_sha256: of the heart network.
        mean: of each feature, shape (features,).
        spread: standard deviation of each, shape (features,).
        precision: inverse covariance of the features so standardised, shape (features, features).
        limit: scans with a larger distance are unlike what the network knows.
        scans: that mean and covariance rest on.
        tuned: scans that the limit rests on.
    """

    weights_sha256: str
    mean: np.ndarray
    spread: np.ndarray
    precision: np.ndarray
    limit: float
    scans: int
    tuned: int

    def distance(self, features: np.ndarray) -> float:
        """How far a scan's features, shape (features,), lie from those that were learned from; at least 0."""
        off = (features - self.mean) / self.spread
        return float(np.sqrt(max(off @ self.precision @ off, 0.0)))


def write_distribution(path: Path, found: InputDistribution) -> None:
    """Write a distribution."""
    from safetensors.numpy import save_file

    from coronet.files import replacing

    arrays = {
        name: np.ascontiguousarray(getattr(found, name), np.float32)
        for name in ("mean", "spread", "precision")
    }
    facts = {name: str(getattr(found, name)) for name in ("weights_sha256", "limit", "scans", "tuned")}
    with replacing(Path(path)) as part:
        save_file(arrays, part, metadata=facts)


def distribution_path(folder: Path) -> Path | None:
    """Where the distribution of the network in ``folder`` lies: beside it, or beside ``build/heart/fit``."""
    folder = Path(folder).resolve()
    places = [folder / DISTRIBUTION]
    if (folder.parent.name, folder.name) == (_MODEL, "fit"):
        places.append(folder.parent / DISTRIBUTION)
    return next((path for path in places if path.is_file()), None)


def read_distribution(folder: Path, weights_sha256: str) -> InputDistribution | None:
    """The distribution of the weights in ``folder``; None where there is none, or it is of other weights.

    Raises:
        InputError: the file is not understood.
    """
    from safetensors import SafetensorError, safe_open

    path = distribution_path(folder)
    if path is None:
        return None
    try:
        with safe_open(path, framework="numpy") as held:
            facts = held.metadata() or {}
            if facts.get("weights_sha256") != weights_sha256:
                return None
            arrays = {name: held.get_tensor(name) for name in ("mean", "spread", "precision")}
        found = InputDistribution(
            weights_sha256,
            **arrays,
            limit=float(facts["limit"]),
            scans=int(facts["scans"]),
            tuned=int(facts["tuned"]),
        )
        size = found.mean.size
        if found.precision.shape != (size, size) or not all(
            np.isfinite(item).all() for item in arrays.values()
        ):
            raise ValueError("shapes do not fit, or a value is no finite number")
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(
            f"{path} is not understood ({type(error).__name__}: {error}); `dvc repro calibrate` writes it "
            "anew."
        ) from error
    return found
