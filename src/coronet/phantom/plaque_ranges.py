"""How much calcium patients have, how large and dense their plaques are: as in patients, and far wider."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Burden:
    """How much coronary calcium a group of patients has."""

    patients: int  # of every twelve
    agatston: tuple[float, float]  # range of the score that is aimed for; what a scan shows of it differs
    plaques: tuple[int, int]  # least and most


@dataclasses.dataclass(frozen=True)
class PlaqueRanges:
    """What the plaques of a cohort are drawn from."""

    burdens: Mapping[str, Burden]
    peaks_hu: tuple[
        tuple[float, float, float], ...
    ]  # lowest and highest HU of a plaque's densest part, weight
    # shapes below a volume in mm³, with their weights; `coronet.phantom.plaque_shapes` draws them
    shapes: tuple[tuple[float, Mapping[str, float]], ...]
    ball_mm: float  # largest radius of the balls that make a plaque
    track_mm: float  # longest track
    vessel_share: float  # most of a vessel's length that one plaque covers
    unevenness: float  # how far HU inside a plaque falls below its peak, as a share of it
    ostial: float = 0.0  # share of the plaques that begin where the vessel does, in the aortic root for two
    largest_mm3: float = math.inf  # volume of the largest plaque
    coarse_from_mm3: float = math.inf  # plaques from this volume on are counted in larger subvoxels
    dense_from: float = math.inf  # a plaque that aims at a higher score has at least 400 HU

    @property
    def block(self) -> tuple[str, ...]:
        """Groups of twelve patients that follow each other, before shuffling."""
        return tuple(name for name, burden in self.burdens.items() for _ in range(burden.patients))


REALISTIC_PLAQUES = PlaqueRanges(
    burdens={
        "none": Burden(4, (0.0, 0.0), (0, 0)),
        "low": Burden(3, (9.0, 95.0), (1, 4)),
        "moderate": Burden(2, (110.0, 290.0), (2, 7)),
        "high": Burden(3, (320.0, 1800.0), (4, 12)),
    },
    peaks_hu=((220.0, 420.0, 3), (420.0, 800.0, 5), (800.0, 1200.0, 3)),
    shapes=(
        (12.0, {"spot": 4, "arc": 1}),
        (50.0, {"spot": 2, "arc": 2, "track": 2}),
        (math.inf, {"arc": 1, "track": 3}),
    ),
    ball_mm=3.2,
    track_mm=45.0,
    vessel_share=0.8,
    unevenness=0.25,
)
"""As in screening programmes."""

WILD_PLAQUES = PlaqueRanges(
    burdens={
        "none": Burden(2, (0.0, 0.0), (0, 0)),
        "low": Burden(2, (4.0, 95.0), (1, 6)),
        "moderate": Burden(2, (110.0, 290.0), (1, 8)),
        "high": Burden(3, (320.0, 1800.0), (1, 12)),
        "extreme": Burden(3, (1800.0, 7500.0), (1, 10)),
    },
    peaks_hu=((160.0, 300.0, 3), (300.0, 600.0, 3), (600.0, 1000.0, 3), (1000.0, 1600.0, 3)),
    shapes=(
        (12.0, {"spot": 4, "arc": 1}),
        (50.0, {"spot": 2, "arc": 2, "track": 2, "nugget": 1}),
        (250.0, {"arc": 2, "track": 3, "nugget": 3, "sleeve": 1}),
        (math.inf, {"track": 2, "nugget": 2, "sleeve": 3}),
    ),
    ball_mm=4.5,
    track_mm=90.0,
    vessel_share=1.0,
    unevenness=0.4,
    ostial=0.35,
    largest_mm3=2500.0,
    coarse_from_mm3=250.0,
    dense_from=150.0,
)
"""Far beyond what screening finds, for training: a network must know whatever a patient may have."""
