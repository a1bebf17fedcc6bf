"""Calcified plaques of the coronary arteries: how many, where, how large, how dense, and in which shape."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from coronet.phantom.curves import Tube
from coronet.phantom.deposits import Deposit, true_volume_mm3
from coronet.phantom.plaque_ranges import REALISTIC_PLAQUES, PlaqueRanges
from coronet.phantom.plaque_shapes import SHAPERS
from coronet.phantom.random_draws import bell, between, between_logs, chance, pick, turn

_Taken: TypeAlias = tuple[str, float, float]  # a plaque's vessel, the mark of its middle and its extent, mm


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

_AGATSTON_PER_MM3 = {300: 0.55, 450: 1.1, 650: 1.6, 5000: 2.1}
"""Agatston score that one mm³ of plaque brings, by its highest HU (measured on soft kernels here)."""
_HIDDEN = 1000.0  # mm³ · HU above the threshold that blur spreads until nothing shows
_OSTIA = {"RCA": 0.45, "LM": 0.25, "LAD": 0.2, "LCX": 0.1}
"""Vessels of the plaques that begin where the vessel does: LM and RCA in the aortic root."""


def burden_of(rng: np.random.Generator, place: int, ranges: PlaqueRanges = REALISTIC_PLAQUES) -> str:
    """Group of the patient at ``place`` in a shuffled block of twelve; ``rng`` belongs to the block."""
    order = list(ranges.block)
    for last in range(len(order) - 1, 0, -1):
        other = int(rng.integers(last + 1))
        order[last], order[other] = order[other], order[last]
    return order[place]


def draw_lesions(
    rng: np.random.Generator,
    vessels: Mapping[str, Tube],
    *,
    burden: str,
    growth: float = 1.0,
    ranges: PlaqueRanges = REALISTIC_PLAQUES,
) -> tuple[Deposit, ...]:
    """Draw a patient's coronary plaques.

    Args:
        vessels: lumens by name, of all `VESSEL_TRAITS`.
        burden: one of the groups of ``ranges``.
        growth: factor on every plaque's volume, for a later screening round.
        ranges: how large, dense and long plaques may be.
    """
    if burden == "none":
        return ()
    aim = between_logs(rng, *ranges.burdens[burden].agatston)
    least, most = ranges.burdens[burden].plaques
    most = min(most, max(least, int(aim / 8)))
    count = least + int(rng.integers(most - least + 1))
    weights = [0.06 + between(rng, 0.0, 1.0) * between(rng, 0.0, 1.0) for _ in range(count)]
    taken: list[_Taken] = []
    lesions = []
    for number, weight in enumerate(weights, start=1):
        peaks = [between(rng, low, high) for low, high, _ in ranges.peaks_hu]
        peak = pick(rng, peaks, [share for *_, share in ranges.peaks_hu])
        score = aim * weight / math.fsum(weights)
        if score > ranges.dense_from:
            peak = max(peak, between(rng, 400.0, peaks[-1]))
        volume = min(_volume_for(score, peak), ranges.largest_mm3 / growth)
        lesion = _draw_lesion(rng, vessels, taken, volume_mm3=volume, peak_hu=peak, ranges=ranges)
        named = dataclasses.replace(lesion, name=f"coronary-{number:02d}")
        lesions.append(_with_volume(named, volume * growth, most_mm=ranges.ball_mm))
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
    ranges: PlaqueRanges,
) -> Deposit:
    shapes = next(shapes for limit, shapes in ranges.shapes if volume_mm3 < limit)
    shape = pick(rng, tuple(shapes), tuple(shapes.values()))
    extent = {
        "spot": 2.0,
        "arc": between(rng, 1.5, 5.0) + volume_mm3 / 25,
        "track": min(4.0 + volume_mm3 / between(rng, 4.0, 8.0), ranges.track_mm),
        "nugget": 2.0 + volume_mm3 / 60,
        "sleeve": min(5.0 + volume_mm3 / 20, ranges.track_mm),
    }[shape]
    vessel, mark = _place(rng, vessels, taken, extent, ostial=ranges.ostial)
    curve = vessels[vessel]
    centres, radii = SHAPERS[shape](rng, curve, mark, min(extent, curve.length_mm * ranges.vessel_share))
    hu = [peak_hu * between(rng, 1.0 - ranges.unevenness, 1.0) for _ in radii]
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
        fine_mm=0.34 if volume_mm3 < ranges.coarse_from_mm3 else 0.5,
    )


def _place(
    rng: np.random.Generator,
    vessels: Mapping[str, Tube],
    taken: list[_Taken],
    extent: float,
    *,
    ostial: float,
) -> tuple[str, float]:
    """A vessel and the mark of the plaque's middle: rather near the start, and apart from others.

    A share of ``ostial`` begins at the very start, some of them a little inside the aortic root.
    """
    shares = [vessel.share for vessel in VESSEL_TRAITS.values()]
    first = bool(ostial) and chance(rng, ostial)
    for _ in range(25):
        if first:
            vessel = pick(rng, tuple(_OSTIA), tuple(_OSTIA.values()))
            total = vessels[vessel].length_mm
            mark = min(extent, total) / 2 + between(rng, -1.0, 3.0)
        else:
            vessel = pick(rng, tuple(VESSEL_TRAITS), shares)
            total = vessels[vessel].length_mm
            mark = total * (0.03 + 0.72 * min(between(rng, 0.0, 1.0), between(rng, 0.0, 1.4)))
        if extent > 0.9 * total:
            continue
        if all(v != vessel or abs(m - mark) > (e + extent) / 2 + 1.5 for v, m, e in taken):
            break
    taken.append((vessel, mark, extent))
    return vessel, mark


def _with_volume(deposit: Deposit, volume_mm3: float, *, most_mm: float) -> Deposit:
    """The same deposit with its balls scaled, to ``most_mm`` at most, until it holds about ``volume_mm3``."""
    for _ in range(4):
        now = true_volume_mm3(deposit)
        if now <= 0 or abs(now / volume_mm3 - 1) < 0.05:
            break
        factor = round(min(max((volume_mm3 / now) ** 0.4, 0.5), 2.0), 6)
        radii = np.minimum(np.maximum(deposit.radii_mm * factor, 0.3), most_mm)
        deposit = dataclasses.replace(deposit, radii_mm=radii)
    return deposit


def in_motion(
    deposits: Sequence[Deposit], rng: np.random.Generator, beat: float, *, bow: float = 0.0
) -> tuple[Deposit, ...]:
    """The coronary deposits smeared by a heart that moved while it was scanned.

    Args:
        beat: strength of the motion; 1 moves a vessel by its ``motion_mm`` to either side.
        bow: how far the way of a vessel bends at most, as a share of its length to either side.
    """
    moved = []
    for deposit in deposits:
        reach = VESSEL_TRAITS[deposit.vessel].motion_mm * beat
        cos, sin = turn(between(rng, 0.0, 180.0))
        tilt = bell(rng, 0.0, 0.25, -0.6, 0.6)
        aside = reach * between(rng, -bow, bow) if bow else 0.0
        moved.append(
            dataclasses.replace(
                deposit,
                motion_mm=(reach * cos, reach * sin, reach * tilt),
                bow_mm=(-aside * sin, aside * cos, 0.0),
            )
        )
    return tuple(moved)
