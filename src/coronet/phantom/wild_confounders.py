"""Confounders of wild phantoms: more kinds, larger, and nearer to the plaques than in realistic ones.

`WILD_CONFOUNDERS`, at the end, lists all kinds.
"""

from __future__ import annotations

import numpy as np

from coronet.phantom.confounders import (
    CONFOUNDERS,
    Confounder,
    beat,
    draw_aortic_wall,
    draw_nodes,
    near_point,
    unnamed_deposit,
)
from coronet.phantom.curves import frame, norms, unit
from coronet.phantom.deposits import Deposit
from coronet.phantom.lesion_sites import COARSE_MM, Sites
from coronet.phantom.random_draws import between, between_logs, chance, pick, turn
from coronet.phantom.wild_metal import draw_clips, draw_spine_rods, draw_stents, draw_valve_ring

_RADIANS = 0.01745  # of a degree
_SHEET_MM = 0.75  # edge of the subvoxels of large deposits


def _ring_part(
    rng: np.random.Generator,
    sites: Sites,
    valve: str,
    *,
    lift_mm: float,
    ring_mm: float,
    spread_deg: float,
    height_mm: float,
    thick_mm: float,
    gaps: float,
) -> tuple[list[np.ndarray], list[float]]:
    """Balls of a part of a ring around a valve's axis, as high as ``height_mm`` along it."""
    centre, normal = sites.marks[valve], unit(sites.marks[f"{valve}_normal"])
    across, up = frame(normal)
    start, swell, wave = between(rng, 0.0, 360.0), 1.0, between(rng, -3.0, 3.0)
    steps = max(2, round(spread_deg * _RADIANS * ring_mm / max(0.9 * thick_mm, 1.0)))
    levels = max(1, round(height_mm / max(1.1 * thick_mm, 1.0)))
    centres: list[np.ndarray] = []
    radii: list[float] = []
    for i in range(steps + 1):
        swell = min(max(swell + between(rng, -0.25, 0.25), 0.5), 1.4)
        cos, sin = turn(start + spread_deg * i / steps)
        for j in range(levels):
            if chance(rng, gaps) and centres:
                continue
            away = ring_mm + between(rng, -0.8, 0.8)
            high = lift_mm + height_mm * (j + 0.5) / levels + wave * (2 * i / steps - 1)
            centres.append(centre + away * cos * across + away * sin * up + high * normal)
            radii.append(thick_mm * swell)
    return centres, radii


def _aortic_wall(rng: np.random.Generator, sites: Sites) -> list[Deposit]:
    """Plates as in patients, and in some a shell around half of the aorta."""
    plaques = draw_aortic_wall(rng, sites)
    if chance(rng, 0.35):
        tube, angle = sites.aorta, between(rng, 0.0, 360.0)
        start, extent = tube.length_mm * between(rng, 0.05, 0.8), between(rng, 15.0, 60.0)
        spread, thick, peak = between(rng, 30.0, 150.0), between(rng, 0.8, 1.8), between(rng, 400.0, 1500.0)
        centres: list[np.ndarray] = []
        radii: list[float] = []
        for i in range(int(extent / 1.6)):
            station = tube.at(start + 1.6 * i)
            for j in range(int(spread * _RADIANS * station.radius_mm / 1.6) + 1):
                if chance(rng, 0.2) and centres:
                    continue
                around = angle + 1.6 * j / (station.radius_mm * _RADIANS) + between(rng, -5.0, 5.0)
                centres.append(station.wall(around, station.radius_mm * between(rng, 0.96, 1.03)))
                radii.append(thick * between(rng, 0.7, 1.1))
        hu = [peak * between(rng, 0.6, 1.0) for _ in radii]
        plaques.append(unnamed_deposit("shell", centres, radii, hu, edge_mm=0.9, fine_mm=_SHEET_MM))
    return plaques


def _aortic_root(rng: np.random.Generator, sites: Sites) -> list[Deposit]:
    """Plates in the wall of the root, where the coronary arteries begin."""
    plates = []
    for _ in range(1 + int(rng.integers(3))):
        centres, radii = _ring_part(
            rng,
            sites,
            "aortic_valve",
            lift_mm=between(rng, -6.0, 14.0),
            ring_mm=between(rng, 12.5, 17.0),
            spread_deg=between(rng, 20.0, 170.0),
            height_mm=between(rng, 1.5, 14.0),
            thick_mm=between(rng, 0.7, 1.8),
            gaps=0.15,
        )
        peak = between(rng, 300.0, 1500.0)
        hu = [peak * between(rng, 0.6, 1.0) for _ in radii]
        plates.append(unnamed_deposit("plate", centres, radii, hu, edge_mm=0.8, motion_mm=beat(rng, 2.5)))
    return plates


def _aortic_valve(rng: np.random.Generator, sites: Sites) -> list[Deposit]:
    """Cusps of curved plates and lumps, from a spot to a valve of stone."""
    cusps = []
    for _ in range(1 + int(rng.integers(4))):
        centres, radii = _ring_part(
            rng,
            sites,
            "aortic_valve",
            lift_mm=between(rng, -4.0, 5.0),
            ring_mm=between(rng, 2.0, 12.0),
            spread_deg=between(rng, 30.0, 220.0),
            height_mm=between(rng, 1.0, 6.0),
            thick_mm=between(rng, 0.6, 2.6),
            gaps=0.1,
        )
        peak = between(rng, 250.0, 1500.0)
        hu = [peak * between(rng, 0.6, 1.0) for _ in radii]
        cusps.append(unnamed_deposit("cusp", centres, radii, hu, edge_mm=0.8, motion_mm=beat(rng, 3.0)))
    return cusps


def _mitral_annulus(rng: np.random.Generator, sites: Sites) -> list[Deposit]:
    """A long beaded arc, in some the whole ring."""
    centres, radii = _ring_part(
        rng,
        sites,
        "mitral_valve",
        lift_mm=between(rng, -3.0, 1.0),
        ring_mm=between(rng, 13.0, 20.0),
        spread_deg=between(rng, 30.0, 330.0),
        height_mm=between(rng, 1.0, 6.0),
        thick_mm=between(rng, 1.0, 4.0),
        gaps=0.1,
    )
    peak = between(rng, 350.0, 1600.0)
    hu = [peak * between(rng, 0.6, 1.0) for _ in radii]
    return [unnamed_deposit("arc", centres, radii, hu, edge_mm=0.9, fine_mm=0.5, motion_mm=beat(rng, 2.5))]


def _nodes(rng: np.random.Generator, sites: Sites) -> list[Deposit]:
    """Nodes as in patients, and clusters of 8 to 24 mm at the hila, the carina and beside the heart."""
    nodes = draw_nodes(rng, sites)
    for _ in range(int(rng.integers(4))):
        if chance(rng, 0.7):
            middle = near_point(
                rng, sites.marks[pick(rng, ("hilum_left", "hilum_right", "carina"))], 2.0, 25.0
            )
        else:
            middle = near_point(rng, pick(rng, sites.heart_surface), 4.0, 14.0)
        size, peak = between(rng, 4.0, 12.0), between(rng, 300.0, 1500.0)
        grains = 5 + int(rng.integers(20))
        centres = [near_point(rng, middle, 0.0, size * 0.8) for _ in range(grains)]
        radii = [between(rng, 0.8, 1.2 + size * 0.25) for _ in range(grains)]
        hu = [peak * between(rng, 0.5, 1.0) for _ in range(grains)]
        nodes.append(unnamed_deposit("cluster", centres, radii, hu, edge_mm=0.9, fine_mm=0.5))
    return nodes


def _granulomas(rng: np.random.Generator, sites: Sites) -> list[Deposit]:
    """Calcified granulomas in the lung, beside the heart."""
    found = []
    centre = sites.marks["heart_centre"]
    sides = [point for point in sites.heart_surface if abs(point[0] - centre[0]) > 25.0]
    for _ in range(1 + int(rng.integers(5))):
        surface = pick(rng, sides or sites.heart_surface)
        middle = surface + between(rng, 4.0, 35.0) * unit(surface - centre)
        size = between(rng, 0.8, 4.0)
        centres = [near_point(rng, middle, 0.0, size) for _ in range(1 + int(rng.integers(4)))]
        hu = between(rng, 300.0, 1500.0)
        found.append(unnamed_deposit("granuloma", centres, [size] * len(centres), hu, edge_mm=0.7))
    return found


def _pericardial_plate(rng: np.random.Generator, sites: Sites) -> list[Deposit]:
    """A calcified sheet on the pericardium, up to 60 mm to either side, with holes and uneven."""
    surface = np.asarray(sites.heart_surface)
    middle, reach = pick(rng, sites.heart_surface), between(rng, 10.0, 60.0)
    holes = [near_point(rng, middle, 0.3 * reach, reach) for _ in range(int(rng.integers(6)))]
    free = norms(surface - middle) < reach
    for hole in holes:
        free &= norms(surface - hole) > between(rng, 0.1, 0.45) * reach
    near = surface[free]
    if len(near) < 3:
        near = surface[norms(surface - middle) < 2.0 * COARSE_MM]
    # the surface is that of coarse voxels: means of neighbours level its steps, points between them close it
    level = [
        np.cumsum(surface[norms(surface - point) < 2.2 * COARSE_MM], axis=0)[-1]
        / np.count_nonzero(norms(surface - point) < 2.2 * COARSE_MM)
        for point in near
    ]
    sheet = np.asarray(level)
    between_them = [
        0.5 * (sheet[i + 1 :][norms(near[i + 1 :] - near[i]) < 1.5 * COARSE_MM] + sheet[i])
        for i in range(len(sheet))
    ]
    closed = np.concatenate([sheet, *between_them])
    thick, peak = between(rng, 0.9, 2.2), between(rng, 350.0, 1500.0)
    radii = [thick * between(rng, 0.6, 1.2) for _ in closed]
    hu = [peak * between(rng, 0.6, 1.0) for _ in closed]
    return [unnamed_deposit("plate", list(closed), radii, hu, edge_mm=0.9, fine_mm=_SHEET_MM)]


def _osteophytes(rng: np.random.Generator, sites: Sites) -> list[Deposit]:
    """Bridges of bone in front of the spine, beside the aorta."""
    found = []
    for _ in range(1 + int(rng.integers(5))):
        mark = between(rng, 0.1, 0.9) * sites.spine.length_mm
        side, ahead = between(rng, -20.0, 20.0), between(rng, 15.0, 22.0)
        centres = [
            sites.spine.at(mark + 2.0 * i).point + np.asarray((side + between(rng, -1.5, 1.5), ahead, 0.0))
            for i in range(3 + int(rng.integers(12)))
        ]
        radii = [between(rng, 1.5, 3.5) for _ in centres]
        found.append(
            unnamed_deposit("bone", centres, radii, between(rng, 350.0, 1100.0), edge_mm=1.0, fine_mm=0.5)
        )
    return found


def _oral_contrast(rng: np.random.Generator, sites: Sites) -> list[Deposit]:
    """Contrast agent that was drunk, in the stomach under the heart."""
    centres = [near_point(rng, sites.marks["stomach"], 0.0, 18.0) for _ in range(2 + int(rng.integers(6)))]
    radii = [between(rng, 5.0, 16.0) for _ in centres]
    hu = between_logs(rng, 150.0, 1400.0)
    return [unnamed_deposit("fluid", centres, radii, hu, edge_mm=2.0, fine_mm=1.0)]


WILD_CONFOUNDERS = {
    "aortic_wall": Confounder(_aortic_wall, (0.6, 0.85), "aorta"),
    "aortic_root": Confounder(_aortic_root, (0.3, 0.45), "aorta"),
    "aortic_valve": Confounder(_aortic_valve, (0.35, 0.5), "valve"),
    "mitral_annulus": Confounder(_mitral_annulus, (0.25, 0.35), "valve"),
    "node": Confounder(_nodes, (0.55, 0.55), "other"),
    "granuloma": Confounder(_granulomas, (0.35, 0.35), "other"),
    "rib_end": CONFOUNDERS["rib_end"],
    "osteophyte": Confounder(_osteophytes, (0.35, 0.45), "bone"),
    "speck": CONFOUNDERS["speck"],
    "pericardial_plate": Confounder(_pericardial_plate, (0.2, 0.25), "other"),
    "oral_contrast": Confounder(_oral_contrast, (0.15, 0.15), "other"),
    "lead": Confounder(CONFOUNDERS["lead"].draw, (0.08, 0.12), "metal"),
    "sternal_wire": Confounder(CONFOUNDERS["sternal_wire"].draw, (0.06, 0.2), "metal"),
    "spine_rod": Confounder(draw_spine_rods, (0.06, 0.06), "metal"),
    "clip": Confounder(draw_clips, (0.2, 0.3), "metal"),
    "stent": Confounder(draw_stents, (0.0, 0.2), "metal"),
    "valve_ring": Confounder(draw_valve_ring, (0.03, 0.05), "metal"),
}
"""All kinds of confounders of wild phantoms, in the order in which they are drawn."""
