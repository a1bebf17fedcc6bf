"""Calcified plaques of the coronary arteries: how many, where, how large, how dense, and in which shape."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from coronet.phantom.curves import Tube
from coronet.phantom.deposits import Deposit, true_volume_mm3
from coronet.phantom.random_draws import bell, between, between_logs, chance, pick, turn

_Taken: TypeAlias = tuple[str, float, float]  # a plaque's vessel, the mark of its middle and its extent, mm
_Balls: TypeAlias = tuple[list[np.ndarray], list[float]]  # centres (3,) and radii of a plaque's balls, mm


@dataclasses.dataclass(frozen=True)
class VesselTraits:
    """What plaques need to know of a coronary artery."""

    label: int  # in a calcium mask
    share: float  # of the plaques
    motion_mm: float  # how far it is smeared at strength 1 of the heart's motion: the right one moves most


VESSEL_TRAITS = {
    "LAD": VesselTraits(2, 0.46, 0.5),
    "RCA": VesselTraits(4, 0.26, 1.3),
    "LCX": VesselTraits(3, 0.2, 0.8),
    "LM": VesselTraits(1, 0.08, 0.3),
}
"""The arteries that carry plaques, in the order in which they are drawn."""


@dataclasses.dataclass(frozen=True)
class Burden:
    """How much coronary calcium a group of patients has."""

    patients: int  # of every twelve
    agatston: tuple[float, float]  # range of the score that is aimed for; what a scan shows of it differs
    plaques: tuple[int, int]  # least and most


BURDENS = {
    "none": Burden(4, (0.0, 0.0), (0, 0)),
    "low": Burden(3, (9.0, 95.0), (1, 4)),
    "moderate": Burden(2, (110.0, 290.0), (2, 7)),
    "high": Burden(3, (320.0, 1800.0), (4, 12)),
}
BLOCK = tuple(name for name, burden in BURDENS.items() for _ in range(burden.patients))
"""Groups of twelve patients that follow each other, before shuffling."""

_AGATSTON_PER_MM3 = {300: 0.55, 450: 1.1, 650: 1.6, 5000: 2.1}
"""Agatston score that one mm³ of plaque brings, by its highest HU (measured on soft kernels here)."""
_HIDDEN = 1000.0  # mm³ · HU above the threshold that blur spreads until nothing shows

_SHAPES: tuple[tuple[float, dict[str, float]], ...] = (
    (12.0, {"spot": 4, "arc": 1}),
    (50.0, {"spot": 2, "arc": 2, "track": 2}),
    (math.inf, {"arc": 1, "track": 3}),
)
"""Shapes of plaques below a volume in mm³, with their weights; `_SHAPERS`, below, draws them."""


def burden_of(rng: np.random.Generator, place: int) -> str:
    """Group of the patient at ``place`` in a shuffled block of twelve; ``rng`` belongs to the block."""
    order = list(BLOCK)
    for last in range(len(order) - 1, 0, -1):
        other = int(rng.integers(last + 1))
        order[last], order[other] = order[other], order[last]
    return order[place]


def draw_lesions(
    rng: np.random.Generator, vessels: Mapping[str, Tube], *, burden: str, growth: float = 1.0
) -> tuple[Deposit, ...]:
    """Draw a patient's coronary plaques.

    Args:
        vessels: lumens by name, of all `VESSEL_TRAITS`.
        burden: a key of `BURDENS`.
        growth: factor on every plaque's volume, for a later screening round.
    """
    if burden == "none":
        return ()
    aim = between_logs(rng, *BURDENS[burden].agatston)
    least, most = BURDENS[burden].plaques
    most = min(most, max(least, int(aim / 8)))
    count = least + int(rng.integers(most - least + 1))
    weights = [0.06 + between(rng, 0.0, 1.0) * between(rng, 0.0, 1.0) for _ in range(count)]
    taken: list[_Taken] = []
    lesions = []
    for number, weight in enumerate(weights, start=1):
        peak = pick(
            rng,
            (between(rng, 220.0, 420.0), between(rng, 420.0, 800.0), between(rng, 800.0, 1200.0)),
            (3, 5, 3),
        )
        volume = _volume_for(aim * weight / math.fsum(weights), peak)
        lesion = _draw_lesion(rng, vessels, taken, volume_mm3=volume, peak_hu=peak)
        named = dataclasses.replace(lesion, name=f"coronary-{number:02d}")
        lesions.append(_with_volume(named, volume * growth))
    return tuple(lesions)


def _volume_for(agatston: float, peak_hu: float) -> float:
    """Volume in mm³ of a plaque that scores about ``agatston``; what blur hides of it comes on top."""
    rate = next(rate for limit, rate in _AGATSTON_PER_MM3.items() if peak_hu < limit)
    return agatston / rate + _HIDDEN / (peak_hu - 130)


def _draw_lesion(
    rng: np.random.Generator,
    vessels: Mapping[str, Tube],
    taken: list[_Taken],
    *,
    volume_mm3: float,
    peak_hu: float,
) -> Deposit:
    shapes = next(shapes for limit, shapes in _SHAPES if volume_mm3 < limit)
    shape = pick(rng, tuple(shapes), tuple(shapes.values()))
    extent = {
        "spot": 2.0,
        "arc": between(rng, 1.5, 5.0) + volume_mm3 / 25,
        "track": min(4.0 + volume_mm3 / between(rng, 4.0, 8.0), 45.0),
    }[shape]
    vessel, mark = _place(rng, vessels, taken, extent)
    curve = vessels[vessel]
    centres, radii = _SHAPERS[shape](rng, curve, mark, min(extent, curve.length_mm * 0.8))
    hu = [peak_hu * between(rng, 0.75, 1.0) for _ in radii]
    hu[int(rng.integers(len(hu)))] = peak_hu
    return Deposit(
        name="",
        kind="coronary",
        vessel=vessel,
        shape=shape,
        centres_mm=np.asarray(centres),
        radii_mm=np.asarray(radii),
        hu=np.asarray(hu),
        edge_mm=between(rng, 0.4, 1.0),
    )


def _place(
    rng: np.random.Generator, vessels: Mapping[str, Tube], taken: list[_Taken], extent: float
) -> tuple[str, float]:
    """A vessel and the mark of the plaque's middle: rather near the start, and apart from others."""
    shares = [vessel.share for vessel in VESSEL_TRAITS.values()]
    for _ in range(25):
        vessel = pick(rng, tuple(VESSEL_TRAITS), shares)
        total = vessels[vessel].length_mm
        mark = total * (0.03 + 0.72 * min(between(rng, 0.0, 1.0), between(rng, 0.0, 1.4)))
        if extent > 0.9 * total:
            continue
        if all(v != vessel or abs(m - mark) > (e + extent) / 2 + 1.5 for v, m, e in taken):
            break
    taken.append((vessel, mark, extent))
    return vessel, mark


def _spot(rng: np.random.Generator, curve: Tube, mark: float, extent: float) -> _Balls:
    angle = between(rng, 0.0, 360.0)
    centres, radii = [], []
    for _ in range(2 + int(rng.integers(3))):
        station = curve.at(mark + between(rng, -0.5, 0.5) * extent * 0.6)
        around = angle + between(rng, -35.0, 35.0)
        centres.append(station.wall(around, station.radius_mm * between(rng, 0.7, 1.05)))
        radii.append(between(rng, 0.6, 1.0))
    return centres, radii


def _arc(rng: np.random.Generator, curve: Tube, mark: float, extent: float) -> _Balls:
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


def _track(rng: np.random.Generator, curve: Tube, mark: float, extent: float) -> _Balls:
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


_SHAPERS = {"spot": _spot, "arc": _arc, "track": _track}


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
        reach = VESSEL_TRAITS[deposit.vessel].motion_mm * beat
        cos, sin = turn(between(rng, 0.0, 180.0))
        tilt = bell(rng, 0.0, 0.25, -0.6, 0.6)
        moved.append(dataclasses.replace(deposit, motion_mm=(reach * cos, reach * sin, reach * tilt)))
    return tuple(moved)
