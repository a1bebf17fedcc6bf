"""A few small phantoms of whole chests, drawn once, and a few lines as a reader would draw them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from coronet.annotation.strokes import Stroke, Strokes
from coronet.io.volume import Volume
from coronet.phantom.patients import Window, make_slot, plan

CHEST = Window(matrix=128, field_mm=370.0, below_mm=(40.0, 50.0), length_mm=(205.0, 215.0))
OUTSIDE_MM = 8.0


@dataclasses.dataclass(frozen=True)
class Chest:
    """A phantom and its true heart."""

    ct: Volume
    heart: np.ndarray


@pytest.fixture(scope="session")
def chests() -> tuple[Chest, ...]:
    cases = [make_slot(7, slot, window=CHEST) for slot in plan(7, 3)]
    return tuple(Chest(case.ct, case.heart.array > 0) for case in cases)


@pytest.fixture(scope="session")
def short_lines():
    """Three lines inside in axial slices, three beside them, one above and one below the heart."""
    return draw_lines


def draw_lines(chest: Chest, *, seed: int = 0, shares: tuple[float, ...] = (0.25, 0.5, 0.75)) -> Strokes:
    rng = np.random.default_rng(seed)
    spacing, affine = np.array(chest.ct.spacing_mm), chest.ct.affine
    levels = np.flatnonzero(chest.heart.any(axis=(0, 1)))

    def world(place) -> tuple[float, float, float]:
        return tuple(round(float(value), 1) for value in (affine @ [*place, 1])[:3])

    def edge(z: int, angle: float, more_mm: float) -> tuple[float, float, int]:
        middle = np.argwhere(chest.heart[:, :, z]).mean(axis=0)
        step, far = np.array([math.cos(angle), math.sin(angle)]) / spacing[:2], 0.0
        while chest.heart[(*np.rint(middle + far * step).astype(int), z)]:
            far += 0.5
        return (*(middle + max(far + more_mm, 0) * step), z)

    strokes = []
    for share in shares:
        z = int(levels[0] + share * (levels[-1] - levels[0]))
        turn = rng.uniform(0, math.pi)
        inside = [world(edge(z, turn + step, -8.0)) for step in (0.0, math.pi / 2, math.pi)]
        strokes.append(Stroke("heart", "line", tuple(inside), 1.5))
        begin = rng.uniform(0, 2 * math.pi)
        outside = [world(edge(z, begin + step, OUTSIDE_MM)) for step in (0.0, 0.4, 0.8)]
        strokes.append(Stroke("background", "line", tuple(outside), 1.5))
    for level, way in ((levels[0], -1), (levels[-1], 1)):
        x, y = np.argwhere(chest.heart[:, :, int(level - way * 8 / spacing[2])]).mean(axis=0)
        z = float(np.clip(level + way * OUTSIDE_MM / spacing[2], 0, chest.ct.shape[2] - 1))
        reach = 12 / spacing[0]
        strokes.append(
            Stroke("background", "line", (world((x - reach, y, z)), world((x + reach, y, z))), 1.5)
        )
    return Strokes("heart", tuple(strokes))
