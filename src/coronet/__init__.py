"""Coronet: learn heart and coronary-calcium segmentation on chest CT, and score scans.

Nothing heavy is imported before a function is used.

Example:
    >>> import coronet
    >>> coronet.score("scan.nii.gz", models="build").result.groups["paper"]
    '>300'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coronet.api import Models, agreement, load_models, score, segment
    from coronet.evaluation.agreement import Agreement
    from coronet.io.reader import Scan, read_scan
    from coronet.io.volume import Volume
    from coronet.scoring.score_scan import ScanScore
    from coronet.scoring.score_with_mask import MaskScore, score_mask
    from coronet.scoring.segment_scan import Segmentation

__version__ = "0.3.0"

_HOMES = {
    "coronet.api": ("Models", "agreement", "load_models", "score", "segment"),
    "coronet.evaluation.agreement": ("Agreement",),
    "coronet.io.reader": ("Scan", "read_scan"),
    "coronet.io.volume": ("Volume",),
    "coronet.scoring.score_scan": ("ScanScore",),
    "coronet.scoring.score_with_mask": ("MaskScore", "score_mask"),
    "coronet.scoring.segment_scan": ("Segmentation",),
}
__all__ = [
    "Agreement",
    "MaskScore",
    "Models",
    "Scan",
    "ScanScore",
    "Segmentation",
    "Volume",
    "agreement",
    "load_models",
    "read_scan",
    "score",
    "score_mask",
    "segment",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first used."""
    for module, names in _HOMES.items():
        if name in names:
            value = getattr(importlib.import_module(module), name)
            globals()[name] = value
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, also those not yet imported."""
    return sorted({*globals(), *__all__})
