"""The score of a calcium mask: four methods, the lesions and the risk groups."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from coronet.errors import InputError
from coronet.io.volume import Volume
from coronet.lists import check_list
from coronet.scoring.agatston import Scores, agatston_of_parts, compute_scores
from coronet.scoring.counted_voxels import find_calcium
from coronet.scoring.lesions import Lesion, list_lesions
from coronet.scoring.protocol import PROTOCOLS, Protocol
from coronet.scoring.risk_groups import PRESETS, risk_group

VESSELS: Mapping[int, str] = MappingProxyType({1: "LM", 2: "LAD", 3: "LCX", 4: "RCA"})
"""Labels of a calcium mask with one label a vessel."""


@dataclasses.dataclass(frozen=True)
class ScoreResult:
    """Everything that a mask gives.

    Attributes:
        scores: of the whole mask.
        lesions: highest Agatston score first.
        protocol: by which it was scored.
        method: which score the groups are cut on: ``volume_weighted`` where chosen, else ``agatston``.
        vessels: Agatston score of each vessel; None where the mask has no vessel labels.
        shape: of the scan, (x, y, z).
        spacing_mm: of the scan, (x, y, z).
        slice_spacing_mm: distance of neighbouring slices, at right angles to them.
        slice_thickness_mm: nominal; None where it is not known.
    """

    scores: Scores
    lesions: tuple[Lesion, ...]
    protocol: Protocol
    method: str
    vessels: Mapping[str, float] | None
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    slice_spacing_mm: float
    slice_thickness_mm: float | None

    @property
    def value(self) -> float:
        """The score by ``method``."""
        return self.scores.of(self.method)

    @property
    def groups(self) -> dict[str, str]:
        """Risk group by preset."""
        score = self.scores.of(graded(self.method))
        affected = None if self.vessels is None else sum(value > 0 for value in self.vessels.values())
        return {name: risk_group(score, name, vessels=affected) for name in PRESETS}

    def to_json(
        self,
        *,
        uncertainty: Mapping[str, Any] | None = None,
        models: Mapping[str, Any] | None = None,
        source: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The result as plain values.

        Args:
            uncertainty: what `coronet.scoring.uncertainty.ScoreUncertainty.to_json` gives; None where nothing
                is known of it.
            models: what made the mask; empty for an expert's.
            source: more facts of the input, beside its geometry.
        """
        return {
            "scores": dataclasses.asdict(self.scores),
            "groups": self.groups,
            "vessels": None if self.vessels is None else dict(self.vessels),
            "lesions": [_plain(dataclasses.asdict(lesion)) for lesion in self.lesions],
            "uncertainty": None if uncertainty is None else dict(uncertainty),
            "protocol": _plain(dataclasses.asdict(self.protocol)) | {"method": self.method},
            "models": dict(models or {}),
            "input": {
                "shape": list(self.shape),
                "spacing_mm": list(self.spacing_mm),
                "slice_spacing_mm": self.slice_spacing_mm,
                "slice_thickness_mm": self.slice_thickness_mm,
            }
            | dict(source or {}),
        }


def score_calcium(
    ct: Volume,
    mask: np.ndarray,
    *,
    protocol: Protocol = PROTOCOLS["coronet"],
    method: str = "agatston",
    calibration_factor: float | None = None,
    vessels: Mapping[int, str] | None = None,
    slice_thickness_mm: float | None = None,
) -> ScoreResult:
    """Score a calcium mask.

    Args:
        ct: HU on the scan's own grid, shape (x, y, z), RAS+; axial slices are those along z.
        mask: labels or booleans of the same shape; anything but 0 is calcium.
        protocol: rules; see `coronet.scoring.protocol`.
        method: which score is the answer, one of `agatston.METHODS`; all four are given.
        calibration_factor: mg/(mm³·HU); without it there is no mass.
        vessels: names of the labels, such as `VESSELS`, where they are vessels. Connectivity ignores labels,
            so the total never depends on them; a part that lies in two vessels is shared out by voxels.
        slice_thickness_mm: nominal, for protocols that ask for it.

    Raises:
        InputError: mask and scan do not fit, a label has no vessel, or two labels have one name.
        ParamsError: unknown method, or mass without a calibration factor.
    """
    calcium = find_calcium(ct, mask, protocol)
    if vessels is not None:
        check_list(vessels.values(), "vessel names")
        _check_labels(calcium.label, vessels)
    parts = agatston_of_parts(calcium, protocol, slice_thickness_mm=slice_thickness_mm)
    scores = compute_scores(calcium, protocol, parts, calibration_factor=calibration_factor)
    scores.of(method)
    lesions = list_lesions(
        calcium, ct, protocol, parts, calibration_factor=calibration_factor, vessels=vessels
    )
    return ScoreResult(
        scores=scores,
        lesions=lesions,
        protocol=protocol,
        method=method,
        vessels=None
        if vessels is None
        else {name: sum(lesion.vessels.get(name, 0.0) for lesion in lesions) for name in vessels.values()},
        shape=ct.shape,
        spacing_mm=ct.spacing_mm,
        slice_spacing_mm=calcium.slice_spacing_mm,
        slice_thickness_mm=slice_thickness_mm,
    )


def score_under_all(
    ct: Volume,
    mask: np.ndarray,
    result: ScoreResult,
    *,
    calibration_factor: float | None = None,
    vessels: Mapping[int, str] | None = None,
) -> dict[str, ScoreResult]:
    """Score a mask under every protocol, by name.

    Args:
        ct: HU, shape (x, y, z).
        mask: labels of the same shape.
        result: of the same mask; method and slice thickness are taken from it.
        calibration_factor: mg/(mm³·HU); without it there is no mass.
        vessels: names of the labels, where they are vessels.
    """
    return {
        name: score_calcium(
            ct,
            mask,
            protocol=protocol,
            method=result.method,
            calibration_factor=calibration_factor,
            vessels=vessels,
            slice_thickness_mm=result.slice_thickness_mm,
        )
        for name, protocol in PROTOCOLS.items()
    }


def graded(method: str) -> str:
    """Which score risk groups are cut on; volume and mass have no published groups."""
    return method if method == "volume_weighted" else "agatston"


def _check_labels(labels: np.ndarray, vessels: Mapping[int, str]) -> None:
    unknown = sorted(set(np.unique(labels).tolist()) - set(vessels))
    if unknown:
        names = ", ".join(f"{value} {name}" for value, name in vessels.items())
        raise InputError(f"The mask's label {unknown[0]} is not a vessel; the labels are {names}.")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
