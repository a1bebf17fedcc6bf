"""The chest's large surfaces in body coordinates: skin, muscle, the cavity inside the ribs, the diaphragm."""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np

from coronet.phantom.ranges import Traits
from coronet.phantom.signed_distance import (
    Coordinates,
    capsule,
    disc,
    ellipsoid,
    meet,
    merge,
    profile,
)

CAVITY_Z = (-280.0, -120.0, -60.0, 0.0, 60.0, 100.0, 125.0, 142.0, 156.0)
_CAVITY_HALF = (134.0, 137.0, 136.0, 131.0, 117.0, 96.0, 73.0, 48.0, 14.0)
CAVITY_FRONT = (92.0, 93.0, 91.0, 84.0, 66.0, 50.0, 32.0, 10.0, -22.0)
_CAVITY_BACK = (-84.0, -90.0, -94.0, -96.0, -94.0, -86.0, -76.0, -62.0, -46.0)
"""Inner surface of the ribs along z: half width, front and back."""

_FLESH_Z = (-280.0, -60.0, 0.0, 60.0, 105.0, 140.0, 185.0, 230.0, 320.0)
_FLESH_HALF = (149.0, 151.0, 149.0, 148.0, 152.0, 140.0, 92.0, 62.0, 62.0)
_FLESH_FRONT = (103.0, 103.0, 98.0, 84.0, 70.0, 50.0, 25.0, 18.0, 30.0)
_FLESH_BACK = (-112.0, -118.0, -120.0, -120.0, -116.0, -106.0, -92.0, -84.0, -84.0)
"""Outer surface of the muscles along z, without shoulders and arms."""


_Height = TypeVar("_Height", float, np.ndarray)


def spine_centre(z: _Height, traits: Traits) -> tuple[_Height, _Height]:
    """Middle (x, y) of the vertebral bodies at height z."""
    u = (z - 20.0) / 150.0
    v = (z + 30.0) / 110.0
    bend = 1.0 / (1.0 + v * v)
    return traits.scoliosis_mm * (bend * 2.0 - 1.0), -60.0 - traits.kyphosis_mm * (1.0 - u * u)


def cavity(at: Coordinates, traits: Traits) -> np.ndarray:
    """The room inside the ribs, chest and upper abdomen together, without the spine."""
    x, y, z = at
    half = profile(z, CAVITY_Z, _CAVITY_HALF)
    front, back = profile(z, CAVITY_Z, CAVITY_FRONT), profile(z, CAVITY_Z, _CAVITY_BACK)
    room = disc(x, y - (front + back) * 0.5, half, (front - back) * 0.5, traits.squareness)
    room = np.maximum(room, z - CAVITY_Z[-1])
    return meet(room, -column(at, traits), 10.0)


def column(at: Coordinates, traits: Traits) -> np.ndarray:
    """The spine with the muscles beside it, as far as it stands into the chest."""
    x, y, z = at
    spine_x, spine_y = spine_centre(z, traits)
    size = traits.vertebra
    body = disc(x - spine_x, y - spine_y, 19.0 * size, 17.0 * size, 0.0)
    behind = disc(x - spine_x, y - (spine_y - 46.0 * size), 50.0 * size, 30.0 * size, 0.2)
    return merge(body, behind, 12.0)


def flesh(at: Coordinates, traits: Traits) -> np.ndarray:
    """Everything under the fat: chest wall with shoulders and arms."""
    x, y, z = at
    half = profile(z, _FLESH_Z, _FLESH_HALF)
    front, back = profile(z, _FLESH_Z, _FLESH_FRONT), profile(z, _FLESH_Z, _FLESH_BACK)
    trunk = disc(x, y - (front + back) * 0.5, half, (front - back) * 0.5, traits.squareness * 0.6 + 0.2)
    side = np.abs(x)
    for ends, radii in _shoulder_rods(traits):
        trunk = merge(trunk, capsule((side, y, z), ends, radii), 22.0)
    for ends, radii in _arm_rods(traits):
        trunk = np.minimum(trunk, capsule((side, y, z), ends, radii))
    return trunk - traits.brawn_mm


def _shoulder_rods(traits: Traits) -> tuple:
    """Rods of the right shoulder, mirrored on the left: ends and radii."""
    if traits.arms_down > 0:
        return ((((70.0, -30.0, 125.0), (152.0, -22.0, 122.0)), (32.0, 36.0)),)
    return (
        (((70.0, -35.0, 125.0), (148.0, -30.0, 150.0)), (32.0, 46.0)),
        (((118.0, -62.0, 60.0), (150.0, -40.0, 130.0)), (34.0, 42.0)),
    )


def _arm_rods(traits: Traits) -> tuple:
    """Rods of the right arm, mirrored on the left."""
    if traits.arms_down > 0:
        return ((((172.0, -20.0, 110.0), (196.0, -25.0, -190.0)), (40.0, 36.0)),)
    return ((((150.0, -30.0, 150.0), (190.0, 10.0, 320.0)), (44.0, 34.0)),)


def skin(at: Coordinates, muscles: np.ndarray, traits: Traits) -> np.ndarray:
    """The body's surface: fat over the muscles, thinner at the sides, and breasts in some."""
    x, y, z = at
    slope = np.minimum(np.maximum(0.85 - z * 0.0012 + np.abs(y) * 0.0012, 0.55), 1.5)
    surface = muscles - slope * traits.fat_mm - 3.0
    if traits.breast_mm > 0:
        size = traits.breast_mm
        front = round(float(np.interp(15.0, _FLESH_Z, _FLESH_FRONT)), 6) + traits.brawn_mm * 0.5
        breast = ellipsoid(
            (np.abs(x), y, z),
            (72.0, front - 6.0, 15.0),
            (size * 1.15, size * 0.8 + traits.fat_mm * 0.5, size * 1.2),
        )
        surface = merge(surface, breast, 18.0)
    return surface


def diaphragm_height(x: np.ndarray, y: np.ndarray, traits: Traits, floor_z: float) -> np.ndarray:
    """Height z of the diaphragm's upper surface: two domes that fall towards the ribs.

    Args:
        x: body coordinates, as y.
        y: body coordinates.
        floor_z: lowest point of the heart; the middle lies ``heart_sink_mm`` above it.
    """
    top = floor_z + traits.heart_sink_mm
    right = _dome(x, y, 66.0, 6.0, top + 10.0 + traits.dome_mm)
    left = _dome(x, y, -70.0, 4.0, top + 10.0 + traits.dome_mm - traits.dome_lead_mm)
    middle = _dome(x, y, -14.0, 24.0, top)
    return -merge(merge(-right, -left, 26.0), -middle, 26.0)


def stomach_centre(traits: Traits, floor_z: float) -> tuple[float, float, float]:
    """Middle of the stomach, under the left dome of the diaphragm; ``floor_z`` as for `diaphragm_height`."""
    under = floor_z + traits.heart_sink_mm + traits.dome_mm - traits.dome_lead_mm
    return -62.0, 14.0, under - 52.0 * traits.stomach


def _dome(x: np.ndarray, y: np.ndarray, middle_x: float, middle_y: float, top: float) -> np.ndarray:
    u, v = (x - middle_x) / 74.0, (y - middle_y) / np.where(y > middle_y, 105.0, 96.0).astype(x.dtype)
    s = u * u + v * v
    return top - s * (46.0 + 20.0 * s)


def rim(angle: float, z: float, out_mm: float, traits: Traits) -> tuple[float, float, float]:
    """A point on the cavity's surface, ``out_mm`` outside it.

    Args:
        angle: radians from the back (0) by the right side to the front (pi).
        out_mm: distance outwards.
    """
    half = float(np.interp(z, CAVITY_Z, _CAVITY_HALF))
    front, back = float(np.interp(z, CAVITY_Z, CAVITY_FRONT)), float(np.interp(z, CAVITY_Z, _CAVITY_BACK))
    depth = (front - back) / 2
    u, v = round(math.sin(angle), 9), round(-math.cos(angle), 9)
    square = traits.squareness
    length = math.sqrt((1.0 - square) + square * math.sqrt(u * u * u * u + v * v * v * v))
    x, y = half * u / length, depth * v / length
    size = math.sqrt(x * x + y * y)
    grow = (size + out_mm) / size
    return round(x * grow, 6), round((front + back) / 2 + y * grow, 6), z
