"""Metal of wild phantoms: beside calcified plaques, at the spine and near the stomach."""

from __future__ import annotations

import numpy as np

from coronet.phantom.confounders import WIRE_HU, beat, near_point, unnamed_deposit
from coronet.phantom.curves import frame, norms, unit
from coronet.phantom.deposits import Deposit
from coronet.phantom.lesion_sites import Sites
from coronet.phantom.random_draws import between, chance, direction, pick, turn

_COARSE_MM = 0.75  # edge of the subvoxels of large pieces


def draw_spine_rods(rng: np.random.Generator, sites: Sites) -> list[Deposit]:
    """Two rods behind the spine, with screws."""
    start, extent = between(rng, 0.0, 0.5) * sites.spine.length_mm, between(rng, 70.0, 200.0)
    behind, apart, radius = between(rng, -46.0, -38.0), between(rng, 11.0, 18.0), between(rng, 2.4, 3.2)
    hu, metal = between(rng, 4000.0, 8000.0), []
    for side in (-1.0, 1.0):
        rod = [
            sites.spine.at(start + 2.5 * i).point + np.asarray((side * apart, behind, 0.0))
            for i in range(int(extent / 2.5))
        ]
        metal.append(unnamed_deposit("rod", rod, [radius] * len(rod), hu, edge_mm=0.6, fine_mm=_COARSE_MM))
        for level in range(int(extent / 23.0) + 1):
            if chance(rng, 0.2):
                continue
            foot = sites.spine.at(start + 23.0 * level).point + np.asarray((side * apart, behind, 0.0))
            screw = [foot + np.asarray((-side * 0.15, 1.0, 0.0)) * (2.0 * i) for i in range(20)]
            metal.append(
                unnamed_deposit("screw", screw, [2.2] * len(screw), hu, edge_mm=0.6, fine_mm=_COARSE_MM)
            )
    return metal


def draw_clips(rng: np.random.Generator, sites: Sites) -> list[Deposit]:
    """Clips in front of the heart, near the stomach, and beside calcified plaques."""
    clips = []
    place = pick(rng, ("front", "stomach", "plaque"))
    centre = sites.marks["heart_centre"]
    fronts = [point for point in sites.heart_surface if point[1] > centre[1] + 20.0] or sites.heart_surface
    for _ in range(2 + int(rng.integers(9))):
        if place == "plaque" and sites.plaques:
            middle = near_point(rng, pick(rng, tuple(pick(rng, sites.plaques).centres_mm)), 3.0, 12.0)
        elif place == "stomach":
            middle = near_point(rng, sites.marks["stomach"], 10.0, 50.0)
        else:
            middle = pick(rng, fronts) + np.asarray((0.0, between(rng, 1.0, 8.0), between(rng, -5.0, 30.0)))
        along = direction(rng)
        centres = [middle + step * 0.7 * along for step in range(-3, 4)]
        clips.append(unnamed_deposit("clip", centres, [0.5] * len(centres), WIRE_HU, edge_mm=0.4))
    return clips


def draw_stents(rng: np.random.Generator, sites: Sites) -> list[Deposit]:
    """One to three stents, most of them in a calcified part of a vessel."""
    stents = []
    for _ in range(1 + int(rng.integers(3))):
        curve = sites.vessels[pick(rng, ("LAD", "LCX", "RCA"))]
        middle, extent = curve.length_mm * between(rng, 0.02, 0.45), between(rng, 8.0, 28.0)
        if sites.plaques and chance(rng, 0.7):
            plaque = pick(rng, sites.plaques)
            curve = sites.vessels[plaque.vessel]
            apart = norms(curve.points - plaque.centres_mm[0])
            middle = curve.length_mm * int(apart.argmin()) / len(curve.points) - between(rng, 0.0, extent)
        centres = []
        for i in range(int(extent / 0.8)):
            station = curve.at(middle + i * 0.8)
            centres += [station.wall(60.0 * j + 25.0 * i, station.radius_mm) for j in range(6)]
        radii, motion = [0.28] * len(centres), beat(rng, 2.0)
        stents.append(unnamed_deposit("stent", centres, radii, 4500.0, edge_mm=0.3, motion_mm=motion))
    return stents


def draw_valve_ring(rng: np.random.Generator, sites: Sites) -> list[Deposit]:
    """The metal ring of a prosthetic valve."""
    valve = pick(rng, ("aortic_valve", "mitral_valve"))
    centre, normal = sites.marks[valve], unit(sites.marks[f"{valve}_normal"])
    across, up = frame(normal)
    ring = between(rng, 10.0, 14.0)
    turns = [turn(float(angle)) for angle in range(0, 360, 8)]
    centres = [centre + ring * cos * across + ring * sin * up for cos, sin in turns]
    radii, motion = [between(rng, 0.5, 1.1)] * len(centres), beat(rng, 2.0)
    return [unnamed_deposit("ring", centres, radii, WIRE_HU, edge_mm=0.4, motion_mm=motion)]
