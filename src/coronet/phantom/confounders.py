"""Confounders of calcium scoring: calcium outside the coronaries, specks, and metal.

`CONFOUNDERS`, at the end, lists all kinds; a new one needs an entry there and the function that draws it.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from coronet.phantom.curves import Tube, frame, norms, unit
from coronet.phantom.deposits import Deposit
from coronet.phantom.lesion_sites import COARSE_MM, Sites
from coronet.phantom.random_draws import bell, between, chance, direction, pick, turn

WIRE_HU = 6000.0
_RADIANS = 0.01745  # of a degree


def draw_confounders(
    rng: np.random.Generator,
    sites: Sites,
    *,
    diseased: bool,
    kinds: Mapping[str, Confounder] | None = None,
) -> tuple[Deposit, ...]:
    """Draw all that is bright and no coronary calcium.

    Args:
        diseased: whether the patient has coronary calcium; calcium elsewhere is then more frequent.
        kinds: by name; `CONFOUNDERS` by default.
    """
    deposits: list[Deposit] = []
    for kind, confounder in (kinds or CONFOUNDERS).items():
        if chance(rng, confounder.rates[diseased]):
            for number, deposit in enumerate(confounder.draw(rng, sites), start=1):
                deposits.append(dataclasses.replace(deposit, name=f"{kind}-{number:02d}", kind=kind))
    return tuple(deposits)


def unnamed_deposit(
    shape: str,
    centres: Sequence[np.ndarray],
    radii: Sequence[float],
    hu: Sequence[float] | float,
    **more: Any,
) -> Deposit:
    """A deposit without name and kind; ``more`` are further fields of `Deposit`."""
    values = np.broadcast_to(np.asarray(hu, dtype=np.float64), (len(radii),)).copy()
    return Deposit("", "", "", shape, np.asarray(centres), np.asarray(radii), values, **more)


def draw_aortic_wall(rng: np.random.Generator, sites: Sites) -> list[Deposit]:
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
            turns = max(1, round(2 * spread * _RADIANS * station.radius_mm / 1.2))
            for j in range(turns + 1):
                if chance(rng, 0.12):
                    continue
                around = angle + spread * (2 * j / turns - 1) * (1 - 0.4 * place * place)
                centres.append(station.wall(around, station.radius_mm * between(rng, 0.95, 1.03)))
                radii.append(thick * between(rng, 0.75, 1.1))
                hu.append(peak * between(rng, 0.7, 1.0))
        if centres:
            plaques.append(unnamed_deposit("plate", centres, radii, hu, edge_mm=0.7))
    return plaques


def _aortic_valve(rng: np.random.Generator, sites: Sites) -> list[Deposit]:
    """Nodules on the cusps."""
    centre, normal = sites.marks["aortic_valve"], sites.marks["aortic_valve_normal"]
    across, up = frame(unit(normal))
    nodules = []
    for _ in range(1 + int(rng.integers(5))):
        cos, sin = turn(between(rng, 0.0, 360.0))
        out = between(rng, 2.0, 11.0)
        middle = centre + out * cos * across + out * sin * up + between(rng, -2.0, 3.0) * normal
        centres = [near_point(rng, middle, 0.0, 1.8) for _ in range(1 + int(rng.integers(4)))]
        radii = [between(rng, 0.6, 1.7) for _ in centres]
        hu = between(rng, 250.0, 1000.0)
        nodules.append(unnamed_deposit("nodule", centres, radii, hu, edge_mm=0.8, motion_mm=beat(rng, 1.5)))
    return nodules


def _mitral_annulus(rng: np.random.Generator, sites: Sites) -> list[Deposit]:
    """An arc of the ring, beaded."""
    centre, normal = sites.marks["mitral_valve"], unit(sites.marks["mitral_valve_normal"])
    across, up = frame(normal)
    ring, start, spread = between(rng, 13.0, 18.0), between(rng, 0.0, 360.0), between(rng, 20.0, 190.0)
    steps = max(2, round(spread * _RADIANS * ring / 1.3))
    swell, centres, radii, hu = 1.2, [], [], []
    peak = between(rng, 350.0, 1300.0)
    for i in range(steps + 1):
        swell = min(max(swell + between(rng, -0.35, 0.35), 0.5), 2.6)
        if chance(rng, 0.12):
            continue
        cos, sin = turn(start + spread * i / steps)
        centres.append(centre + ring * cos * across + ring * sin * up + between(rng, -1.2, 1.2) * normal)
        radii.append(swell)
        hu.append(peak * between(rng, 0.7, 1.0))
    if not centres:
        return []
    return [unnamed_deposit("arc", centres, radii, hu, edge_mm=0.9, motion_mm=beat(rng, 1.2))]


def draw_nodes(rng: np.random.Generator, sites: Sites) -> list[Deposit]:
    """Calcified lymph nodes at the hila and under the carina: clustered grains."""
    nodes = []
    for _ in range(1 + int(rng.integers(5))):
        near = sites.marks[pick(rng, ("hilum_left", "hilum_right", "carina"))]
        middle = near_point(rng, near, 2.0, 16.0)
        size = between(rng, 2.0, 5.0)
        grains = 2 + int(rng.integers(8))
        centres = [near_point(rng, middle, 0.0, size * 0.7) for _ in range(grains)]
        radii = [between(rng, 0.6, 1.0 + size * 0.25) for _ in range(grains)]
        hu = [between(rng, 250.0, 1100.0) for _ in range(grains)]
        nodes.append(unnamed_deposit("node", centres, radii, hu, edge_mm=0.8))
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
            angle = between(rng, 0.0, 360.0)
            centres.append(station.wall(angle, station.radius_mm * between(rng, 0.6, 1.0)))
            radii.append(between(rng, 0.7, 1.8))
            hu.append(between(rng, 220.0, 700.0))
        ends.append(unnamed_deposit("cartilage", centres, radii, hu, edge_mm=1.0))
    return ends


def _specks(rng: np.random.Generator, sites: Sites) -> list[Deposit]:
    """Single bright points in and around the heart that are no plaque."""
    specks = []
    for _ in range(1 + int(rng.integers(6))):
        centre, surface = sites.marks["heart_centre"], pick(rng, sites.heart_surface)
        middle = centre + between(rng, 0.55, 1.12) * (surface - centre) + 2.0 * direction(rng)
        radius = between(rng, 0.45, 0.8)
        specks.append(unnamed_deposit("speck", [middle], [radius], between(rng, 300.0, 900.0), edge_mm=0.6))
    return specks


def _pericardial_plate(rng: np.random.Generator, sites: Sites) -> list[Deposit]:
    """A calcified sheet on the pericardium, with holes."""
    middle, reach = pick(rng, sites.heart_surface), between(rng, 8.0, 24.0)
    near = [point for point in sites.heart_surface if _apart(point, middle) < reach and chance(rng, 0.85)]
    # the surface is sampled on a grid too coarse for a sheet: what lies between its points closes it
    closed = near + [
        a + 0.5 * (b - a) for a, b in itertools.combinations(near, 2) if _apart(a, b) < 1.5 * COARSE_MM
    ]
    radii = [between(rng, 0.9, 1.7) for _ in closed]
    return [unnamed_deposit("plate", closed, radii, between(rng, 350.0, 900.0), edge_mm=0.9)] if near else []


def _lead(rng: np.random.Generator, sites: Sites) -> list[Deposit]:
    """A pacemaker lead: down the right side of the heart and into the right ventricle's tip."""
    from_centre = ((34.0, 2.0, 45.0), (36.0, 6.0, 8.0), (8.0, 16.0, -20.0), (-28.0, 26.0, -34.0))
    corners = np.concatenate(
        [[sites.marks["carina"] + (24.0, 12.0, 45.0)], sites.marks["heart_centre"] + from_centre]
    )
    radius = between(rng, 0.7, 1.1)
    path = Tube(corners, np.full(len(corners), radius))
    centres = [_eased(path, i * 1.2) for i in range(int(path.length_mm / 1.2))]
    return [unnamed_deposit("wire", centres, [radius] * len(centres), WIRE_HU, edge_mm=0.5, fine_mm=0.55)]


def _eased(path: Tube, mark: float) -> np.ndarray:
    """The path with its corners rounded: a mean over 24 mm."""
    total = np.zeros(3)
    for step in range(-4, 5):
        total += path.at(mark + 3.0 * step).point
    return total / 9


def _sternal_wires(rng: np.random.Generator, sites: Sites) -> list[Deposit]:
    """Loops of wire around the breastbone after open surgery."""
    low, high = sites.marks["sternum"][0], sites.marks["sternum"][-1]
    loops = []
    for i in range(3 + int(rng.integers(4))):
        x, y, z = low + min(0.1 + 0.16 * i, 1.0) * (high - low)
        width, depth = between(rng, 12.0, 16.0), between(rng, 7.0, 9.0)
        turns = [turn(float(angle)) for angle in range(0, 360, 8)]
        centres = [np.asarray((x + width * cos, y + depth * sin, z + 2.0 * sin)) for cos, sin in turns]
        loops.append(
            unnamed_deposit("wire", centres, [0.5] * len(centres), WIRE_HU, edge_mm=0.4, fine_mm=0.45)
        )
    return loops


def _clips(rng: np.random.Generator, sites: Sites) -> list[Deposit]:
    """Surgical clips in front of the heart, as along a bypass."""
    clips = []
    centre = sites.marks["heart_centre"]
    fronts = [point for point in sites.heart_surface if point[1] > centre[1] + 20.0]
    for _ in range(2 + int(rng.integers(5))):
        place = pick(rng, fronts or sites.heart_surface)
        middle = place + np.asarray((0.0, between(rng, 1.0, 8.0), between(rng, -5.0, 30.0)))
        along = direction(rng)
        centres = [middle + step * 0.7 * along for step in range(-3, 4)]
        clips.append(unnamed_deposit("clip", centres, [0.5] * len(centres), WIRE_HU, edge_mm=0.4))
    return clips


def _stent(rng: np.random.Generator, sites: Sites) -> list[Deposit]:
    """A stent: a mesh of metal on the vessel's wall."""
    curve = sites.vessels[pick(rng, ("LAD", "LCX", "RCA"))]
    middle, extent = curve.length_mm * between(rng, 0.08, 0.45), between(rng, 10.0, 20.0)
    centres = []
    for i in range(int(extent / 0.8)):
        station = curve.at(middle + i * 0.8)
        centres += [station.wall(60.0 * j + 25.0 * i, station.radius_mm) for j in range(6)]
    return [
        unnamed_deposit(
            "stent", centres, [0.28] * len(centres), 4500.0, edge_mm=0.3, motion_mm=beat(rng, 0.8)
        )
    ]


def near_point(rng: np.random.Generator, point: np.ndarray, least_mm: float, most_mm: float) -> np.ndarray:
    """A place between two distances from a point, in any direction."""
    way = direction(rng)
    return point + between(rng, least_mm, most_mm) * way


def _apart(a: np.ndarray, b: np.ndarray) -> float:
    """Distance of two points in mm."""
    return float(norms((a - b)[None])[0])


def beat(rng: np.random.Generator, reach_mm: float) -> tuple[float, float, float]:
    """How far a heartbeat smears a deposit to either side, in mm."""
    size = bell(rng, reach_mm / 2, reach_mm / 4, 0.0, reach_mm)
    x, y, z = (direction(rng) * size).tolist()
    return x, y, z


@dataclasses.dataclass(frozen=True)
class Confounder:
    """A kind of bright thing that is no coronary calcium."""

    draw: Callable[[np.random.Generator, Sites], list[Deposit]]
    rates: tuple[float, float]  # how often a patient has it: without and with coronary calcium
    label: str  # what a reader calls it, of `coronet.annotation.strokes.STROKE_LABELS`


CONFOUNDERS = {
    "aortic_wall": Confounder(draw_aortic_wall, (0.5, 0.85), "aorta"),
    "aortic_valve": Confounder(_aortic_valve, (0.18, 0.4), "valve"),
    "mitral_annulus": Confounder(_mitral_annulus, (0.1, 0.25), "valve"),
    "node": Confounder(draw_nodes, (0.4, 0.4), "other"),
    "rib_end": Confounder(_rib_ends, (0.75, 0.85), "bone"),
    "speck": Confounder(_specks, (0.6, 0.6), "other"),
    "pericardial_plate": Confounder(_pericardial_plate, (0.1, 0.12), "other"),
    "lead": Confounder(_lead, (0.06, 0.08), "metal"),
    "sternal_wire": Confounder(_sternal_wires, (0.06, 0.15), "metal"),
    "clip": Confounder(_clips, (0.15, 0.2), "metal"),
    "stent": Confounder(_stent, (0.0, 0.07), "metal"),
}
"""All kinds of confounders, in the order in which they are drawn."""
