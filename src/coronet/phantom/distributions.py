"""What cohorts are drawn from: realistic phantoms, which test, and wild ones, which only train."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from coronet.phantom.acquisition_protocols import REALISTIC_PROTOCOLS, WILD_PROTOCOLS, ProtocolRanges
from coronet.phantom.confounders import CONFOUNDERS, Confounder
from coronet.phantom.plaque_ranges import REALISTIC_PLAQUES, WILD_PLAQUES, PlaqueRanges
from coronet.phantom.ranges import REALISTIC, WILD_COHORT, Ranges
from coronet.phantom.wild_confounders import WILD_CONFOUNDERS


@dataclasses.dataclass(frozen=True)
class Distribution:
    """The ranges that a phantom is drawn from."""

    prefix: str  # begins the ids of its cases and patients
    recipe: str  # its entry of ``recipes.yaml``
    anatomy: Ranges
    plaques: PlaqueRanges
    confounders: Mapping[str, Confounder]
    protocols: ProtocolRanges
    lung_disease: bool


DISTRIBUTIONS = {
    "realistic": Distribution(
        prefix="phantom",
        recipe="phantom",
        anatomy=REALISTIC,
        plaques=REALISTIC_PLAQUES,
        confounders=CONFOUNDERS,
        protocols=REALISTIC_PROTOCOLS,
        lung_disease=False,
    ),
    "wild": Distribution(
        prefix="wild",
        recipe="wild",
        anatomy=WILD_COHORT,
        plaques=WILD_PLAQUES,
        confounders=WILD_CONFOUNDERS,
        protocols=WILD_PROTOCOLS,
        lung_disease=True,
    ),
}
REALISTIC_SHARE = {"realistic": 1.0, "wild": 0.0, "mixed": 0.5}
"""Share of the patients of a cohort that are realistic, by what ``phantom.ranges`` may be."""
