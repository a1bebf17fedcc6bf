"""Diseased lungs of wild phantoms: tumours, consolidation, emphysema."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from coronet.phantom.curves import Tube
from coronet.phantom.random_draws import between, chance, pick


@dataclasses.dataclass(frozen=True)
class LungDisease:
    """What lies in diseased lungs, in mm of the world; only what lies inside the lungs is painted."""

    bullae: tuple[Tube, ...]  # holes of emphysema
    consolidated: tuple[Tube, ...]  # parts filled with fluid or cells, with a ragged edge
    consolidated_hu: float
    tumours: tuple[Tube, ...]
    tumour_hu: float


HEALTHY = LungDisease((), (), 0.0, (), 0.0)


def draw_lung_disease(rng: np.random.Generator, marks: Mapping[str, np.ndarray]) -> LungDisease:
    """Draw what ails the lungs, nothing in about half of the patients.

    Args:
        marks: `coronet.phantom.anatomy.Anatomy.landmarks`.
    """
    half = marks["body_half_axes"]
    bullae, consolidated, tumours = [], [], []
    if chance(rng, 0.2):
        for _ in range(10 + int(rng.integers(40))):
            place = _in_a_lung(rng, half, (-0.2, 0.7))
            bullae.append(_ball(rng, place, between(rng, 3.0, 18.0)))
    if chance(rng, 0.25):
        side = pick(rng, (-1.0, 1.0))
        for _ in range(1 + int(rng.integers(4))):
            place = _in_a_lung(rng, half, (-0.5, 0.4), side)
            consolidated.append(_ball(rng, place, between(rng, 20.0, 65.0)))
    if chance(rng, 0.2):
        for _ in range(1 + int(rng.integers(2))):
            near = (marks["hilum_left"], marks["hilum_right"], _in_a_lung(rng, half, (-0.4, 0.6)))
            place = pick(rng, near) + np.asarray([between(rng, -12.0, 12.0) for _ in range(3)])
            size = between(rng, 6.0, 32.0)
            tumours += [_ball(rng, place, size * between(rng, 0.6, 1.0)) for _ in range(3)]
    return LungDisease(
        bullae=tuple(bullae),
        consolidated=tuple(consolidated),
        consolidated_hu=between(rng, -450.0, 45.0),
        tumours=tuple(tumours),
        tumour_hu=between(rng, 10.0, 60.0),
    )


def _in_a_lung(
    rng: np.random.Generator, half: np.ndarray, heights: tuple[float, float], side: float = 0.0
) -> np.ndarray:
    """A place (3,) in one of the lungs, or in that of a side: 1 the right one, -1 the left one."""
    side = side or pick(rng, (-1.0, 1.0))
    return np.asarray(
        (
            side * between(rng, 0.35, 0.75) * half[0],
            between(rng, -0.75, 0.5) * half[1],
            between(rng, *heights) * half[2],
        )
    )


def _ball(rng: np.random.Generator, place: Sequence[float] | np.ndarray, radius: float) -> Tube:
    """A ball drawn out a little, near a place."""
    middle = np.asarray(place) + np.asarray([between(rng, -0.5, 0.5) * radius for _ in range(3)])
    end = middle + np.asarray([between(rng, -0.4, 0.4) * radius for _ in range(3)])
    return Tube(np.stack([middle, end]), np.asarray([radius, radius * between(rng, 0.7, 1.0)]))
