"""Random draws that give the same numbers on every processor.

NumPy's ``standard_normal`` and ``uniform`` call mathematical functions or fused operations that a compiler
may round differently elsewhere; integers and the 53-bit ``random`` do not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")


def generator(*key: int) -> np.random.Generator:
    """A generator of its own for each key, such as (seed, patient, purpose)."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def between(rng: np.random.Generator, low: float, high: float) -> float:
    """Uniform in [low, high)."""
    return low + (high - low) * float(rng.random())


def between_logs(rng: np.random.Generator, low: float, high: float) -> float:
    """Log-uniform in [low, high), rounded so that the last bits of ``exp`` cannot matter."""
    return round(math.exp(between(rng, math.log(low), math.log(high))), 6)


def bell(rng: np.random.Generator, mean: float, sd: float, low: float, high: float) -> float:
    """Nearly normal (a sum of twelve uniforms), cut to [low, high]."""
    total = 0.0
    for _ in range(12):
        total += float(rng.random())
    return min(max(mean + sd * (total - 6.0), low), high)


def chance(rng: np.random.Generator, probability: float) -> bool:
    """True with the given probability."""
    return float(rng.random()) < probability


def pick(rng: np.random.Generator, items: Sequence[Item], weights: Sequence[float] | None = None) -> Item:
    """One of the items, by weight."""
    if weights is None:
        return items[int(rng.integers(len(items)))]
    mark = between(rng, 0.0, math.fsum(weights))
    for item, weight in zip(items, weights, strict=True):
        mark -= weight
        if mark < 0:
            return item
    return items[-1]


def direction(rng: np.random.Generator) -> np.ndarray:
    """A unit vector (3,), evenly over the sphere."""
    while True:
        x, y, z = (between(rng, -1.0, 1.0) for _ in range(3))
        length = math.sqrt(x * x + y * y + z * z)
        if 0.1 < length <= 1.0:
            return np.asarray((x, y, z)) / length


def turn(angle_deg: float) -> tuple[float, float]:
    """Cosine and sine, rounded so that the last bits of the C library cannot matter."""
    angle = math.radians(angle_deg)
    return round(math.cos(angle), 9), round(math.sin(angle), 9)
