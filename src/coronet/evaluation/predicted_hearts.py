"""Heart masks that the stages evaluate and score share: the heart network runs once on a test scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from coronet.files import read_json
from coronet.io.volume import Volume, read_nifti
from coronet.networks.factory import LoadedModel

MASKS = "masks"  # folder of predicted masks in the results of both stages


def heart_masks_by(network: LoadedModel, results: Path | None) -> Path | None:
    """Folder of the heart masks in the ``results`` of a stage, if the same weights predicted them."""
    if results is None or not (results / MASKS).is_dir():
        return None
    weights = read_json(results / "metrics.json")["weights_sha256"]
    return results / MASKS if weights.get("heart") == network.sha256 else None


def earlier_heart(hearts: Path | None, case: str, ct: Volume) -> np.ndarray | None:
    """The heart of a case as predicted before, boolean in the shape of ``ct``; None where it was not."""
    if hearts is None or not heart_path(hearts, case).exists():
        return None
    mask = read_nifti(heart_path(hearts, case), np.uint8)
    return mask.array > 0 if mask.same_grid(ct) else None


def heart_path(hearts: Path, case: str) -> Path:
    """Where the predicted heart of a case lies."""
    return hearts / f"{case}_heart.nii.gz"
