"""Shapes of coronary plaques, as chains of balls along a vessel; `SHAPERS`, at the end, lists them."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np

from coronet.phantom.curves import Tube
from coronet.phantom.random_draws import between, chance

Balls: TypeAlias = tuple[list[np.ndarray], list[float]]  # centres (3,) and radii of a plaque's balls, mm


def _spot(rng: np.random.Generator, curve: Tube, mark: float, extent: float) -> Balls:
    angle = between(rng, 0.0, 360.0)
    centres, radii = [], []
    for _ in range(2 + int(rng.integers(3))):
        station = curve.at(mark + between(rng, -0.5, 0.5) * extent * 0.6)
        around = angle + between(rng, -35.0, 35.0)
        centres.append(station.wall(around, station.radius_mm * between(rng, 0.7, 1.05)))
        radii.append(between(rng, 0.6, 1.0))
    return centres, radii


def _arc(rng: np.random.Generator, curve: Tube, mark: float, extent: float) -> Balls:
    """Part of the vessel's wall, eccentric; tapering at both ends."""
    angle, spread = between(rng, 0.0, 360.0), between(rng, 50.0, 130.0)
    steps = max(2, round(extent / 0.8))
    centres, radii = [], []
    for i in range(steps + 1):
        place = 2 * i / steps - 1
        station = curve.at(mark + place * extent / 2)
        open_deg = spread * (1 - 0.6 * place * place)
        turns = max(2, round(2 * math.radians(open_deg) * station.radius_mm / 0.8))
        for j in range(turns + 1):
            around = angle + open_deg * (2 * j / turns - 1) + between(rng, -4.0, 4.0)
            centres.append(station.wall(around, station.radius_mm * between(rng, 0.95, 1.1)))
            radii.append(between(rng, 0.55, 0.8) * (1 - 0.35 * place * place))
    return centres, radii


def _track(rng: np.random.Generator, curve: Tube, mark: float, extent: float) -> Balls:
    """A long uneven band along one side of the vessel, with gaps."""
    angle, twist = between(rng, 0.0, 360.0), between(rng, -6.0, 6.0)
    steps = max(3, round(extent / 0.7))
    swell = 1.0
    centres: list[np.ndarray] = []
    radii: list[float] = []
    for i in range(steps + 1):
        swell = min(max(swell + between(rng, -0.25, 0.25), 0.55), 1.5)
        angle += twist + between(rng, -9.0, 9.0)
        if chance(rng, 0.08) and centres:
            continue
        station = curve.at(mark + (i / steps - 0.5) * extent)
        centres.append(station.wall(angle, station.radius_mm * between(rng, 0.6, 1.0)))
        radii.append(swell * 0.8)
    return centres, radii


def _nugget(rng: np.random.Generator, curve: Tube, mark: float, extent: float) -> Balls:
    """A bulky lump on one side of the vessel that fills most of it."""
    angle = between(rng, 0.0, 360.0)
    centres, radii = [], []
    for _ in range(5 + int(rng.integers(8))):
        station = curve.at(mark + between(rng, -0.5, 0.5) * extent)
        around = angle + between(rng, -70.0, 70.0)
        centres.append(station.wall(around, station.radius_mm * between(rng, 0.3, 1.3)))
        radii.append(between(rng, 0.9, 1.8))
    return centres, radii


def _sleeve(rng: np.random.Generator, curve: Tube, mark: float, extent: float) -> Balls:
    """A long calcified wall, half of the vessel's round or all of it, of uneven thickness."""
    angle, spread = between(rng, 0.0, 360.0), between(rng, 140.0, 360.0)
    steps = max(3, round(extent / 1.1))
    swell = 1.0
    centres: list[np.ndarray] = []
    radii: list[float] = []
    for i in range(steps + 1):
        swell = min(max(swell + between(rng, -0.2, 0.2), 0.55), 1.6)
        angle += between(rng, -12.0, 12.0)
        station = curve.at(mark + (i / steps - 0.5) * extent)
        turns = max(3, round(math.radians(spread) * station.radius_mm / 1.4))
        for j in range(turns):
            if chance(rng, 0.06) and centres:
                continue
            around = angle + spread * j / turns
            centres.append(station.wall(around, station.radius_mm * between(rng, 0.75, 1.1)))
            radii.append(swell * between(rng, 0.65, 0.85))
    return centres, radii


SHAPERS = {"spot": _spot, "arc": _arc, "track": _track, "nugget": _nugget, "sleeve": _sleeve}
"""Each draws a plaque around a mark of a vessel, of a length in mm."""
