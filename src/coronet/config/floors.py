"""The gate's floors: which figures a model must reach, by default and by ``params.yaml``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from operator import attrgetter

from coronet.config import GateParams, check_model

_AT_LEAST, _AT_MOST = "at least", "at most"
FLOOR_WORDS = {
    "dice": "Dice",
    "f1": "F1 of all voxels",
    "lesion_sensitivity": "lesions found",
    "false_mm3": "mm³ found in calcium-free scans",
    "score_error": "error of the score",
    "kappa": "linear κ of the risk groups",
    "seconds": "seconds a scan",
    "megabytes": "megabytes",
}
"""Every figure that has a floor, in words."""


@dataclasses.dataclass(frozen=True)
class Floor:
    """What one figure must reach."""

    name: str  # of the figure, a key of `FLOOR_WORDS`
    side: str  # `_AT_LEAST` or `_AT_MOST`
    limit: float | None  # None where nothing is asked
    key: str  # of `params.yaml`, such as `gate.heart.dice`

    @property
    def text(self) -> str:
        """Such as ``at least 0.6``."""
        return "not asked" if self.limit is None else f"{self.side} {self.limit:g}"

    def holds(self, value: float | None) -> bool | None:
        """Whether ``value`` reaches the floor; None where there is no value or nothing is asked."""
        if value is None or self.limit is None:
            return None
        return value >= self.limit if self.side == _AT_LEAST else value <= self.limit

    def is_looser_than(self, other: Floor) -> bool:
        """Whether this floor asks for something, but for less than ``other``."""
        if self.limit is None or other.limit is None:
            return False
        return self.limit < other.limit if self.side == _AT_LEAST else self.limit > other.limit


NETWORK_FLOORS: Mapping[str, tuple[Floor, ...]] = {
    "heart": (Floor("dice", _AT_LEAST, 0.9, "gate.heart.dice"),),
    "calcium": (
        Floor("f1", _AT_LEAST, 0.6, "gate.calcium.f1"),
        Floor("lesion_sensitivity", _AT_LEAST, 0.6, "gate.calcium.lesion_sensitivity"),
        Floor("false_mm3", _AT_MOST, 20.0, "gate.calcium.false_mm3"),
    ),
}
"""Default floors of a network by itself. Scores are rated by these, whatever ``params.yaml`` asks for."""
SCORE_FLOORS = (
    Floor("score_error", _AT_MOST, 150.0, "gate.score_error"),
    Floor("kappa", _AT_LEAST, 0.5, "gate.kappa"),
)
"""Default floors of the scores that both networks give together."""
_COST_FLOORS = (
    Floor("seconds", _AT_MOST, 120.0, "gate.seconds"),
    Floor("megabytes", _AT_MOST, 500.0, "gate.megabytes"),
)
"""Default floors of what a scan costs."""


def floors_were(floors: int) -> str:
    """Such as ``5 floors were``."""
    return "1 floor was" if floors == 1 else f"{floors} floors were"


def default_floors(model: str) -> tuple[Floor, ...]:
    """The gate's floors of ``heart`` or ``calcium`` as Coronet ships them."""
    return (*NETWORK_FLOORS[check_model(model)], *SCORE_FLOORS, *_COST_FLOORS)


def gate_floors(gate: GateParams, model: str) -> tuple[Floor, ...]:
    """The same floors with the limits of ``params.yaml``."""
    return tuple(
        dataclasses.replace(floor, limit=attrgetter(floor.key.removeprefix("gate."))(gate))
        for floor in default_floors(model)
    )


def floors_spared(gate: GateParams, model: str) -> tuple[tuple[Floor, ...], tuple[Floor, ...]]:
    """Default floors that ``params.yaml`` switches off, and those of which it asks for less."""
    pairs = list(zip(default_floors(model), gate_floors(gate, model), strict=True))
    return (
        tuple(default for default, floor in pairs if floor.limit is None),
        tuple(default for default, floor in pairs if floor.is_looser_than(default)),
    )
