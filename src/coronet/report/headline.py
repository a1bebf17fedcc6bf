"""The dozen figures that `dvc metrics show` prints; all others stay in the files of their stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from coronet.config import MODELS
from coronet.evaluation.agreement_statistics import share_of_confusion
from coronet.files import read_json, write_json


def write_headline(build: Path, out: Path) -> None:
    """Write the headline figures of the evaluations and the scores as one small JSON file."""
    heart, calcium = (read_json(build / model / "evaluation" / "metrics.json") for model in MODELS)
    write_json(out, headline(heart, calcium, read_json(build / "scores" / "metrics.json")))


def headline(heart: dict[str, Any], calcium: dict[str, Any], scores: dict[str, Any]) -> dict[str, Any]:
    """Headline figures out of the three ``metrics.json``; None where the test scans cannot show it."""
    agreement, share = scores["agreement"], share_of_confusion(scores["groups"]["confusion"])
    figures = {
        "heart": {
            "dice": heart["dice"]["mean"],
            "lowest_dice": heart["dice"]["lowest"],
            "short_scan_dice": heart["short_scan"]["dice"]["mean"],
            "volume_error_ml": heart["volume_error_ml"],
        },
        "calcium": {
            "f1": calcium["pooled"]["f1"],
            "lesion_sensitivity": calcium["lesions"]["sensitivity"],
            "false_lesions_per_scan": calcium["lesions"]["false_per_scan"],
            "false_mm3": calcium["calcium_free"]["false_mm3"]["mean"],
        },
        "score": {
            "mean_error": scores["score_error"],
            "bias": agreement["bias"],
            "icc": agreement["icc2_1"],
            "kappa": agreement["kappa_linear"],
            "same_group": share.same / share.of,
            "zero_when_free": scores["calcium_free"]["share"],
        },
    }
    return {
        part: {name: None if value is None else round(value, 4) for name, value in values.items()}
        for part, values in figures.items()
    }
