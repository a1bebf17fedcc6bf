"""Calcified plaques of the coronary arteries: how many, where, how large, how dense, and in which shape."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from coronet.phantom.curves import Polyline
from coronet.phantom.deposits import Deposit, true_volume_mm3
from coronet.phantom.random_draws import bell, between, between_logs, chance, pick, turn
from coronet.phantom.signed_distance import Vector

VESSEL_NAMES = ("LM", "LAD", "LCX", "RCA")
VESSEL_LABELS = {name: label for label, name in enumerate(VESSEL_NAMES, start=1)}
"""Label of each vessel in a calcium mask."""

_BURDENS = {"none": None, "low": (9.0, 95.0), "moderate": (110.0, 290.0), "high": (320.0, 1800.0)}
"""Aim for the Agatston score of a patient in each group; what a scan shows of it differs."""
BLOCK = ("none",) * 4 + ("low",) * 3 + ("moderate",) * 2 + ("high",) * 3
"""Groups of twelve patients that follow each other, before shuffling."""

_AGATSTON_PER_MM3 = {300: 0.55, 450: 1.1, 650: 1.6, 5000: 2.1}
"""Agatston score that one mm³ of plaque brings, by its highest HU (measured on soft kernels here)."""
_HIDDEN = 1000.0  # mm³ · HU above the threshold that blur spreads until nothing shows
_SHARES = {"LAD": 0.46, "RCA": 0.26, "LCX": 0.2, "LM": 0.08}
_MOTION_MM = {"LM": 0.3, "LAD": 0.5, "LCX": 0.8, "RCA": 1.3}
"""How far a vessel is smeared at strength 1 of the heart's motion: the right artery moves most."""


def burden_of(rng: np.random.Generator, place: int) -> str:
    """Group of the patient at ``place`` in a shuffled block of twelve; ``rng`` belongs to the block."""
    order = list(BLOCK)
    for last in range(len(order) - 1, 0, -1):
        other = int(rng.integers(last + 1))
        order[last], order[other] = order[other], order[last]
    return order[place]


def draw_lesions(
    rng: np.random.Generator, vessels: Mapping[str, Polyline], *, burden: str, growth: float = 1.0
) -> tuple[Deposit, ...]:
    """Draw a patient's coronary plaques.

    Args:
        vessels: centre lines by name, of `VESSEL_NAMES`.
        burden: a key of `_BURDENS`.
        growth: factor on every plaque's volume, for a later screening round.
    """
    limits = _BURDENS[burden]
    if limits is None:
        return ()
    aim = between_logs(rng, *limits)
    least, most = {"low": (1, 4), "moderate": (2, 7), "high": (4, 12)}[burden]
    most = min(most, max(least, int(aim / 8)))
    count = least + int(rng.integers(most - least + 1))
    weights = [0.06 + between(rng, 0.0, 1.0) * between(rng, 0.0, 1.0) for _ in range(count)]
    taken: list[tuple[str, float, float]] = []
    lesions = []
    for number, weight in enumerate(weights, start=1):
        peak = pick(
            rng,
            (between(rng, 220.0, 420.0), between(rng, 420.0, 800.0), between(rng, 800.0, 1200.0)),
            (3, 5, 3),
        )
        volume = _volume_for(aim * weight / math.fsum(weights), peak)
        lesion = _draw_lesion(
            rng, vessels, taken, name=f"coronary-{number:02d}", volume_mm3=volume, peak_hu=peak
        )
        lesions.append(_with_volume(lesion, volume * growth))
    return tuple(lesions)


def _volume_for(agatston: float, peak_hu: float) -> float:
    """Volume in mm³ of a plaque that scores about ``agatston``; what blur hides of it comes on top."""
    rate = next(rate for limit, rate in _AGATSTON_PER_MM3.items() if peak_hu < limit)
    return agatston / rate + _HIDDEN / (peak_hu - 130)


def _draw_lesion(
    rng: np.random.Generator,
    vessels: Mapping[str, Polyline],
    taken: list[tuple[str, float, float]],
    *,
    name: str,
    volume_mm3: float,
    peak_hu: float,
) -> Deposit:
    if volume_mm3 < 12:
        shape = pick(rng, ("spot", "arc"), (4, 1))
    elif volume_mm3 < 50:
        shape = pick(rng, ("spot", "arc", "track"), (2, 2, 2))
    else:
        shape = pick(rng, ("arc", "track"), (1, 3))
    extent = {
        "spot": 2.0,
        "arc": between(rng, 1.5, 5.0) + volume_mm3 / 25,
        "track": min(4.0 + volume_mm3 / between(rng, 4.0, 8.0), 45.0),
    }[shape]
    vessel, mark = _place(rng, vessels, taken, extent)
    curve = vessels[vessel]
    draw = {"spot": _spot, "arc": _arc, "track": _track}[shape]
    centres, radii = draw(rng, curve, mark, min(extent, curve.length_mm * 0.8))
    hu = [peak_hu * between(rng, 0.75, 1.0) for _ in radii]
    hu[int(rng.integers(len(hu)))] = peak_hu
    return Deposit(
        name=name,
        kind="coronary",
        vessel=vessel,
        shape=shape,
        centres_mm=np.asarray(centres),
        radii_mm=np.asarray(radii),
        hu=np.asarray(hu),
        edge_mm=between(rng, 0.4, 1.0),
    )


def _place(
    rng: np.random.Generator,
    vessels: Mapping[str, Polyline],
    taken: list[tuple[str, float, float]],
    extent: float,
) -> tuple[str, float]:
    """A vessel and the mark of the plaque's middle: rather near the start, and apart from others."""
    names = [name for name in _SHARES if name in vessels]
    for _ in range(25):
        vessel = pick(rng, names, [_SHARES[name] for name in names])
        total = vessels[vessel].length_mm
        mark = total * (0.03 + 0.72 * min(between(rng, 0.0, 1.0), between(rng, 0.0, 1.4)))
        if extent > 0.9 * total:
            continue
        if all(v != vessel or abs(m - mark) > (e + extent) / 2 + 1.5 for v, m, e in taken):
            break
    taken.append((vessel, mark, extent))
    return vessel, mark


def _spot(
    rng: np.random.Generator, curve: Polyline, mark: float, extent: float
) -> tuple[list[Vector], list[float]]:
    angle = between(rng, 0.0, 360.0)
    centres, radii = [], []
    for _ in range(2 + int(rng.integers(3))):
        station = curve.at(mark + between(rng, -0.5, 0.5) * extent * 0.6)
        cos, sin = turn(angle + between(rng, -35.0, 35.0))
        centres.append(station.wall(cos, sin, station.radius_mm * between(rng, 0.7, 1.05)))
        radii.append(between(rng, 0.6, 1.0))
    return centres, radii


def _arc(
    rng: np.random.Generator, curve: Polyline, mark: float, extent: float
) -> tuple[list[Vector], list[float]]:
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
            cos, sin = turn(angle + open_deg * (2 * j / turns - 1) + between(rng, -4.0, 4.0))
            centres.append(station.wall(cos, sin, station.radius_mm * between(rng, 0.95, 1.1)))
            radii.append(between(rng, 0.55, 0.8) * (1 - 0.35 * place * place))
    return centres, radii


def _track(
    rng: np.random.Generator, curve: Polyline, mark: float, extent: float
) -> tuple[list[Vector], list[float]]:
    """A long uneven band along one side of the vessel, with gaps."""
    angle, twist = between(rng, 0.0, 360.0), between(rng, -6.0, 6.0)
    steps = max(3, round(extent / 0.7))
    swell = 1.0
    centres: list[Vector] = []
    radii: list[float] = []
    for i in range(steps + 1):
        swell = min(max(swell + between(rng, -0.25, 0.25), 0.55), 1.5)
        angle += twist + between(rng, -9.0, 9.0)
        if chance(rng, 0.08) and centres:
            continue
        station = curve.at(mark + (i / steps - 0.5) * extent)
        cos, sin = turn(angle)
        centres.append(station.wall(cos, sin, station.radius_mm * between(rng, 0.6, 1.0)))
        radii.append(swell * 0.8)
    return centres, radii


def _with_volume(deposit: Deposit, volume_mm3: float) -> Deposit:
    """The same deposit with its balls scaled until it holds about ``volume_mm3``."""
    for _ in range(4):
        now = true_volume_mm3(deposit)
        if now <= 0 or abs(now / volume_mm3 - 1) < 0.05:
            break
        factor = round(min(max((volume_mm3 / now) ** 0.4, 0.5), 2.0), 6)
        radii = np.minimum(np.maximum(deposit.radii_mm * factor, 0.3), 3.2)
        deposit = dataclasses.replace(deposit, radii_mm=radii)
    return deposit


def in_motion(deposits: Sequence[Deposit], rng: np.random.Generator, beat: float) -> tuple[Deposit, ...]:
    """The coronary deposits smeared by a heart that moved while it was scanned."""
    moved = []
    for deposit in deposits:
        reach = _MOTION_MM.get(deposit.vessel, 0.0) * beat
        cos, sin = turn(between(rng, 0.0, 180.0))
        tilt = bell(rng, 0.0, 0.25, -0.6, 0.6)
        moved.append(dataclasses.replace(deposit, motion_mm=(reach * cos, reach * sin, reach * tilt)))
    return tuple(moved)
