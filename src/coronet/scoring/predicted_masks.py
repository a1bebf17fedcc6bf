"""Heart and calcium masks of a scan, as the networks draw them on its own grid."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from coronet.config.floors import NETWORK_FLOORS, Floor
from coronet.errors import InputError, UnsuitableScan
from coronet.fingerprint import canonical
from coronet.inference.predict import (
    CalciumCandidates,
    calcium_candidates,
    largest_heart,
    predict_calcium,
    predict_heart_with_distance,
)
from coronet.io.scan_facts import DEPOSITED
from coronet.io.volume import Volume
from coronet.networks.factory import LoadedModel, ModelSpec
from coronet.networks.quality import ModelQuality


@dataclasses.dataclass(frozen=True)
class PredictedMasks:
    """What the networks found; masks have the scan's shape (x, y, z).

    Attributes:
        heart: bool.
        calcium: bool; voxels below 130 HU never belong to it.
        candidates: connected bright things that are calcium or may be, those of ``calcium`` among them.
    """

    heart: np.ndarray
    calcium: np.ndarray
    candidates: CalciumCandidates


def predict_masks(
    ct: Volume,
    heart_model: LoadedModel,
    calcium_model: LoadedModel,
    *,
    check: Callable[[np.ndarray, float | None], None] | None = None,
    heart: np.ndarray | None = None,
) -> PredictedMasks:
    """Find the heart, then the calcium in and beside it.

    Args:
        ct: HU, RAS+.
        heart_model: finds the heart.
        calcium_model: finds calcium around it.
        check: called with the heart mask, and with how far the scan lies off those that the heart network
            learned from where that is known, before calcium is looked for; what it raises ends the search.
        heart: what ``heart_model`` found in this scan before, so that it need not run again.

    Raises:
        UnsuitableScan: no heart was found.
        InputError: a model is of the other kind.
    """
    for kind, model in (("heart", heart_model), ("calcium", calcium_model)):
        if model.spec.model != kind:
            raise InputError(
                f"The model that must find the {kind} was trained to find the {model.spec.model}."
            )
    distance = None
    if heart is None:
        probability, distance = predict_heart_with_distance(ct, heart_model)
        heart = largest_heart(probability, ct, heart_model.params.threshold)
    if check:
        check(heart, distance)
    if not heart.any():
        raise UnsuitableScan("The heart network found no heart in this scan, so there is nothing to score.")
    calcium = predict_calcium(ct, heart, calcium_model)
    candidates = calcium_candidates(calcium, ct, calcium_model.params.threshold)
    return PredictedMasks(heart, candidates.mask(ct.shape), candidates)


@dataclasses.dataclass(frozen=True)
class ModelOrigin:
    """Which weights predicted a mask, what they learned from, and how good they are."""

    spec: ModelSpec  # model, parameters, and the cases it learned from
    weights_sha256: str  # of the weights' bytes
    quality: ModelQuality  # what is recorded of how good it is
    checks_scan: bool = True  # False of a heart network that cannot tell an unfamiliar scan

    @property
    def trained_on(self) -> str:
        """``phantom``, ``drawn`` (into real scans) and ``real``, as "drawn and phantom", or ``unknown``."""
        sources = [source for source, count in self.spec.cases.items() if count]
        kinds = {{"phantom": "phantom", DEPOSITED: "drawn"}.get(source, "real") for source in sources}
        return " and ".join(sorted(kinds)) or "unknown"

    @property
    def floors(self) -> tuple[Floor, ...]:
        """The default floors of the gate for this model."""
        return NETWORK_FLOORS[self.spec.model]

    @property
    def below_floors(self) -> tuple[Floor, ...]:
        """Default floors that it misses."""
        return self.quality.evaluation.below(self.floors) if self.quality.evaluation else ()

    @property
    def unknown_floors(self) -> tuple[Floor, ...]:
        """Default floors of which its test scans show nothing."""
        return self.quality.evaluation.unknown(self.floors) if self.quality.evaluation else ()

    def to_json(self) -> dict[str, Any]:
        """Plain data for ``score.json``."""
        evaluation, gate = self.quality.evaluation, self.quality.gate
        return {
            "release": self.spec.release or None,
            "trained_on": self.trained_on,
            "cases": dict(self.spec.cases),
            "evaluation": evaluation.to_json(self.floors) if evaluation else None,
            "gate": canonical(gate) if gate else None,
            "fingerprint": self.spec.fingerprint,
            "weights_sha256": self.weights_sha256,
            "data_sha256": self.spec.data_sha256,
            "encoder": self.spec.params.network.encoder,
            "threshold": self.spec.params.threshold,
        }


def origin_of(model: LoadedModel) -> ModelOrigin:
    """Where a model's weights come from."""
    checks_scan = model.spec.model != "heart" or model.distribution is not None
    return ModelOrigin(model.spec, model.sha256, model.quality, checks_scan)
