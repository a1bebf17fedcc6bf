"""Confounders of calcium scoring: calcium outside the coronaries, specks, and metal."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from coronet.phantom.curves import Polyline, frame, plus, toward, unit
from coronet.phantom.deposits import Deposit
from coronet.phantom.lesion_sites import COARSE_MM, Sites
from coronet.phantom.random_draws import bell, between, chance, direction, pick, turn
from coronet.phantom.signed_distance import Vector

RATES = {
    "aortic_wall": (0.5, 0.85),
    "aortic_valve": (0.18, 0.4),
    "mitral_annulus": (0.1, 0.25),
    "node": (0.4, 0.4),
    "rib_end": (0.75, 0.85),
    "speck": (0.6, 0.6),
    "pericardial_plate": (0.1, 0.12),
    "lead": (0.06, 0.08),
    "sternal_wire": (0.06, 0.15),
    "clip": (0.15, 0.2),
    "stent": (0.0, 0.07),
}
"""How often a patient has each kind: without and with coronary calcium."""

_WIRE_HU = 6000.0


def draw_confounders(rng: np.random.Generator, sites: Sites, *, diseased: bool) -> tuple[Deposit, ...]:
    """Draw all that is bright and no coronary calcium.

    Args:
        diseased: whether the patient has coronary calcium; calcium elsewhere is then more frequent.
    """
    drawers = {
        "aortic_wall": _aortic_wall,
        "aortic_valve": _aortic_valve,
        "mitral_annulus": _mitral_annulus,
        "node": _nodes,
        "rib_end": _rib_ends,
        "speck": _specks,
        "pericardial_plate": _pericardial_plate,
        "lead": _lead,
        "sternal_wire": _sternal_wires,
        "clip": _clips,
        "stent": _stent,
    }
    deposits: list[Deposit] = []
    for kind, draw in drawers.items():
        present = chance(rng, RATES[kind][diseased])
        if present:
            for number, deposit in enumerate(draw(rng, sites), start=1):
                deposits.append(dataclasses.replace(deposit, name=f"{kind}-{number:02d}", kind=kind))
    return tuple(deposits)


def _deposit(
    shape: str,
    centres: Sequence[Vector],
    radii: Sequence[float],
    hu: Sequence[float] | float,
    *,
    edge_mm: float,
    motion_mm: Vector = (0.0, 0.0, 0.0),
    fine_mm: float = Deposit.fine_mm,
) -> Deposit:
    values = np.broadcast_to(np.asarray(hu, dtype=np.float64), (len(radii),)).copy()
    return Deposit(
        "", "", "", shape, np.asarray(centres), np.asarray(radii), values, edge_mm, motion_mm, fine_mm
    )


def _aortic_wall(rng: np.random.Generator, sites: Sites) -> list[Deposit]:
    """Flat plaques in the wall, most of them in the arch and the descending part."""
    plaques = []
    for _ in range(1 + int(rng.integers(7))):
        lows, highs = pick(rng, ((0.03, 0.25), (0.3, 0.6), (0.6, 0.98)), (2, 4, 4))
        middle = sites.aorta.length_mm * between(rng, lows, highs)
        angle, spread = between(rng, 0.0, 360.0), between(rng, 8.0, 45.0)
        extent, thick = between(rng, 1.0, 12.0), between(rng, 0.6, 1.2)
        peak = between(rng, 250.0, 1100.0)
        steps = max(1, round(extent / 1.2))
        centres, radii, hu = [], [], []
        for i in range(steps + 1):
            place = 2 * i / steps - 1
            station = sites.aorta.at(middle + place * extent / 2)
            turns = max(1, round(2 * spread * 0.01745 * station.radius_mm / 1.2))
            for j in range(turns + 1):
                if chance(rng, 0.12):
                    continue
                cos, sin = turn(angle + spread * (2 * j / turns - 1) * (1 - 0.4 * place * place))
                centres.append(station.wall(cos, sin, station.radius_mm * between(rng, 0.95, 1.03)))
                radii.append(thick * between(rng, 0.75, 1.1))
                hu.append(peak * between(rng, 0.7, 1.0))
        if centres:
            plaques.append(_deposit("plate", centres, radii, hu, edge_mm=0.7))
    return plaques


def _aortic_valve(rng: np.random.Generator, sites: Sites) -> list[Deposit]:
    """Nodules on the cusps."""
    centre, normal = sites.aortic_valve
    across, up = frame(unit(normal))
    nodules = []
    for _ in range(1 + int(rng.integers(5))):
        cos, sin = turn(between(rng, 0.0, 360.0))
        out = between(rng, 2.0, 11.0)
        middle = plus(plus(plus(centre, across, out * cos), up, out * sin), normal, between(rng, -2.0, 3.0))
        centres = [
            plus(middle, direction(rng), between(rng, 0.0, 1.8)) for _ in range(1 + int(rng.integers(4)))
        ]
        radii = [between(rng, 0.6, 1.7) for _ in centres]
        nodules.append(
            _deposit(
                "nodule", centres, radii, between(rng, 250.0, 1000.0), edge_mm=0.8, motion_mm=_beat(rng, 1.5)
            )
        )
    return nodules


def _mitral_annulus(rng: np.random.Generator, sites: Sites) -> list[Deposit]:
    """An arc of the ring, beaded."""
    centre, normal = sites.mitral_valve
    across, up = frame(unit(normal))
    ring, start, spread = between(rng, 13.0, 18.0), between(rng, 0.0, 360.0), between(rng, 20.0, 190.0)
    steps = max(2, round(spread * 0.01745 * ring / 1.3))
    swell, centres, radii, hu = 1.2, [], [], []
    peak = between(rng, 350.0, 1300.0)
    for i in range(steps + 1):
        swell = min(max(swell + between(rng, -0.35, 0.35), 0.5), 2.6)
        if chance(rng, 0.12):
            continue
        cos, sin = turn(start + spread * i / steps)
        middle = plus(plus(centre, across, ring * cos), up, ring * sin)
        centres.append(plus(middle, unit(normal), between(rng, -1.2, 1.2)))
        radii.append(swell)
        hu.append(peak * between(rng, 0.7, 1.0))
    if not centres:
        return []
    return [_deposit("arc", centres, radii, hu, edge_mm=0.9, motion_mm=_beat(rng, 1.2))]


def _nodes(rng: np.random.Generator, sites: Sites) -> list[Deposit]:
    """Calcified lymph nodes at the hila and under the carina: clustered grains."""
    nodes = []
    for _ in range(1 + int(rng.integers(5))):
        near = pick(rng, (sites.hila[0], sites.hila[1], sites.carina))
        middle = plus(near, direction(rng), between(rng, 2.0, 16.0))
        size = between(rng, 2.0, 5.0)
        grains = 2 + int(rng.integers(8))
        centres = [plus(middle, direction(rng), between(rng, 0.0, size * 0.7)) for _ in range(grains)]
        radii = [between(rng, 0.6, 1.0 + size * 0.25) for _ in range(grains)]
        hu = [between(rng, 250.0, 1100.0) for _ in range(grains)]
        nodes.append(_deposit("node", centres, radii, hu, edge_mm=0.8))
    return nodes


def _rib_ends(rng: np.random.Generator, sites: Sites) -> list[Deposit]:
    """Calcified cartilage in front of the ribs' ends: a rough rim, or grains along the edges."""
    ends = []
    for cartilage in sites.cartilages:
        if not chance(rng, 0.35):
            continue
        reach = between(rng, 4.0, 0.7 * cartilage.length_mm)
        centres, radii, hu = [], [], []
        for _ in range(4 + int(reach * between(rng, 0.3, 1.0))):
            station = cartilage.at(between(rng, 0.0, 1.0) * between(rng, 0.0, reach))
            cos, sin = turn(between(rng, 0.0, 360.0))
            centres.append(station.wall(cos, sin, station.radius_mm * between(rng, 0.6, 1.0)))
            radii.append(between(rng, 0.7, 1.8))
            hu.append(between(rng, 220.0, 700.0))
        ends.append(_deposit("cartilage", centres, radii, hu, edge_mm=1.0))
    return ends


def _specks(rng: np.random.Generator, sites: Sites) -> list[Deposit]:
    """Single bright points in and around the heart that are no plaque."""
    specks = []
    for _ in range(1 + int(rng.integers(6))):
        surface = pick(rng, sites.heart_surface)
        middle = plus(toward(sites.heart_centre, surface, between(rng, 0.55, 1.12)), direction(rng), 2.0)
        specks.append(
            _deposit("speck", [middle], [between(rng, 0.45, 0.8)], between(rng, 300.0, 900.0), edge_mm=0.6)
        )
    return specks


def _pericardial_plate(rng: np.random.Generator, sites: Sites) -> list[Deposit]:
    """A calcified sheet on the pericardium, with holes."""
    middle, reach = pick(rng, sites.heart_surface), between(rng, 8.0, 24.0)
    near = [point for point in sites.heart_surface if _apart(point, middle) < reach and chance(rng, 0.85)]
    # the surface is sampled on a grid too coarse for a sheet: what lies between its points closes it
    closed = near + [
        plus(a, plus(b, a, -1.0), 0.5)
        for a, b in itertools.combinations(near, 2)
        if _apart(a, b) < 1.5 * COARSE_MM
    ]
    radii = [between(rng, 0.9, 1.7) for _ in closed]
    return [_deposit("plate", closed, radii, between(rng, 350.0, 900.0), edge_mm=0.9)] if near else []


def _apart(a: Vector, b: Vector) -> float:
    return sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) ** 0.5


def _lead(rng: np.random.Generator, sites: Sites) -> list[Deposit]:
    """A pacemaker lead: down the right side of the heart and into the right ventricle's tip."""
    x, y, z = sites.heart_centre
    corners = [
        plus(sites.carina, (24.0, 12.0, 45.0)),
        (x + 34.0, y + 2.0, z + 45.0),
        (x + 36.0, y + 6.0, z + 8.0),
        (x + 8.0, y + 16.0, z - 20.0),
        (x - 28.0, y + 26.0, z - 34.0),
    ]
    path = Polyline.through(np.asarray(corners), between(rng, 0.7, 1.1))
    marks = [i * 1.2 for i in range(int(path.length_mm / 1.2))]
    centres = [_eased(path, mark) for mark in marks]
    return [_deposit("wire", centres, [path.radii_mm[0]] * len(marks), _WIRE_HU, edge_mm=0.5, fine_mm=0.55)]


def _eased(path: Polyline, mark: float) -> Vector:
    """The path with its corners rounded: a mean over 24 mm."""
    total = (0.0, 0.0, 0.0)
    for step in range(-4, 5):
        total = plus(total, path.at(mark + 3.0 * step).point)
    return total[0] / 9, total[1] / 9, total[2] / 9


def _sternal_wires(rng: np.random.Generator, sites: Sites) -> list[Deposit]:
    """Loops of wire around the breastbone after open surgery."""
    if len(sites.sternum) < 2:
        return []
    low, high = sites.sternum[0], sites.sternum[-1]
    loops = []
    for i in range(3 + int(rng.integers(4))):
        x, y, z = toward(low, high, min(0.1 + 0.16 * i, 1.0))
        width, depth = between(rng, 12.0, 16.0), between(rng, 7.0, 9.0)
        centres = []
        for angle in range(0, 360, 8):
            cos, sin = turn(float(angle))
            centres.append((x + width * cos, y + depth * sin, z + 2.0 * sin))
        loops.append(_deposit("wire", centres, [0.5] * len(centres), _WIRE_HU, edge_mm=0.4, fine_mm=0.45))
    return loops


def _clips(rng: np.random.Generator, sites: Sites) -> list[Deposit]:
    """Surgical clips in front of the heart, as along a bypass."""
    clips = []
    fronts = [point for point in sites.heart_surface if point[1] > sites.heart_centre[1] + 20.0]
    for _ in range(2 + int(rng.integers(5))):
        middle = plus(
            pick(rng, fronts or sites.heart_surface), (0.0, between(rng, 1.0, 8.0), between(rng, -5.0, 30.0))
        )
        along = direction(rng)
        centres = [plus(middle, along, step * 0.7) for step in range(-3, 4)]
        clips.append(_deposit("clip", centres, [0.5] * len(centres), _WIRE_HU, edge_mm=0.4))
    return clips


def _stent(rng: np.random.Generator, sites: Sites) -> list[Deposit]:
    """A stent: a mesh of metal on the vessel's wall."""
    name = pick(rng, [name for name in ("LAD", "LCX", "RCA") if name in sites.vessels])
    curve = sites.vessels[name]
    middle, extent = curve.length_mm * between(rng, 0.08, 0.45), between(rng, 10.0, 20.0)
    centres = []
    for i in range(int(extent / 0.8)):
        station = curve.at(middle + i * 0.8)
        for j in range(6):
            cos, sin = turn(60.0 * j + 25.0 * i)
            centres.append(station.wall(cos, sin, station.radius_mm))
    return [_deposit("stent", centres, [0.28] * len(centres), 4500.0, edge_mm=0.3, motion_mm=_beat(rng, 0.8))]


def _beat(rng: np.random.Generator, reach_mm: float) -> tuple[float, float, float]:
    size = bell(rng, reach_mm / 2, reach_mm / 4, 0.0, reach_mm)
    x, y, z = direction(rng)
    return x * size, y * size, z * size
