"""Distances of the large organs on coarse lattices of the world, ready to be interpolated."""

from __future__ import annotations

import numpy as np

from coronet.io.volume import triple
from coronet.phantom.anatomy import Anatomy
from coronet.phantom.grid_field import GridField, GridShape, WorldBox
from coronet.phantom.heart import enclosed
from coronet.phantom.signed_distance import OUTSIDE_MM, Coordinates, ellipsoid, meet, merge
from coronet.phantom.skeleton import spine
from coronet.phantom.thorax import cavity, column, diaphragm_height, flesh, skin, stomach_centre
from coronet.phantom.tubes import distance_to

_EDGE_MM = 6.0  # how far around an organ its distances are kept


def organ_distances(anatomy: Anatomy, box: WorldBox, *, fine: bool) -> dict[str, GridField]:
    """Compute the fields of all organs over a box of the world, in mm and negative inside.

    Args:
        box: (low, high) along x, y, z in mm.
        fine: 2.5 mm nodes for heart and vessels in place of 4 mm.

    Returns:
        By name, each on the part of its lattice that it needs.
    """
    body_lattice = GridShape.over(box, 4.0)
    core_lattice = _core_lattice(anatomy, box, fine=fine)
    spine_lattice = GridShape.over(_inside(box, _spine_box(anatomy)), 2.0 if fine else 3.0)
    core = _core(anatomy, core_lattice)
    body = _body(anatomy, body_lattice, core.pop("middle"))
    backbone = spine(anatomy.pose.to_body(spine_lattice), anatomy.traits)
    body |= {name: GridField(spine_lattice, values) for name, values in backbone.items()}
    return {name: field.near(_EDGE_MM) for name, field in (core | body).items()}


def pericardium(anatomy: Anatomy, box: WorldBox, *, fine: bool) -> GridField:
    """The field of that name alone, with the bytes that `organ_distances` gives it."""
    lattice = _core_lattice(anatomy, box, fine=fine)
    parts = enclosed(anatomy.pose.to_body(lattice), anatomy.traits, anatomy.heart, anatomy.floor_z)
    return GridField(lattice, parts.pericardium).near(_EDGE_MM)


def _core_lattice(anatomy: Anatomy, box: WorldBox, *, fine: bool) -> GridShape:
    return GridShape.over(_inside(box, _core_box(anatomy)), 2.5 if fine else 4.0)


def _inside(box: WorldBox, other: WorldBox) -> WorldBox:
    """The part of ``other`` inside ``box``, never empty."""
    sides = []
    for (low, high), (a, b) in zip(box, other, strict=True):
        first = min(max(a, low), high)
        sides.append((first, max(min(b, high), first)))
    return triple(sides)


def _core_box(anatomy: Anatomy) -> WorldBox:
    x, y, z = (float(v) for v in anatomy.landmarks["heart_centre"])
    reach = 118.0 * max(anatomy.heart.scale, 1.0)
    return ((x - reach, x + reach), (y - 125.0, y + reach), (z - 130.0, max(z + 160.0, 185.0)))


def _spine_box(anatomy: Anatomy) -> WorldBox:
    traits = anatomy.traits
    levels = np.arange(-400.0, 300.0, 20.0)
    line = [(x, y, z) for x in (-48.0, 48.0) for y in (-150.0, -30.0) for z in levels]
    points = anatomy.pose.to_world(np.asarray(line) * np.asarray((traits.vertebra, 1.0, 1.0)))
    return triple((float(points[:, i].min()), float(points[:, i].max())) for i in range(3))


def _core(anatomy: Anatomy, lattice: GridShape) -> dict[str, GridField]:
    """Heart, great vessels, and ``middle``: the mediastinum that the lungs lie around."""
    traits = anatomy.traits
    at = anatomy.pose.to_body(lattice)
    parts = enclosed(at, traits, anatomy.heart, anatomy.floor_z)
    sac = parts.pericardium
    fat = traits.mediastinal_fat_mm

    def tubes(*names: str) -> np.ndarray:
        group = tuple(tube for name in names for tube in anatomy.tubes[name])
        return distance_to(group, lattice.lines, margin_mm=24.0)

    vessels, pipes = tubes("vessels"), tubes("airways", "gullet", "nodes")
    middle = merge(sac - 1.0, vessels - fat, 16.0)
    middle = merge(middle, pipes - 1.5 - fat * 0.5, 14.0)
    middle = merge(middle, _front_fat(anatomy, at), 24.0)
    middle = merge(middle, column(at, traits) - 1.0, 10.0)
    touching = np.maximum(-(cavity(at, traits) + 9.0), sac - 6.0)
    middle = merge(middle, touching, 6.0)
    for pad in _fat_pads(anatomy, at):
        middle = merge(middle, pad, 26.0)
    named = {
        "pericardium": sac,
        "blood": parts.blood,
        "ventricle": parts.left_ventricle,
        "ventricle_cavity": parts.left_cavity,
        "vessels": vessels,
        "middle": middle,
    }
    return {name: GridField(lattice, values) for name, values in named.items()}


def _front_fat(anatomy: Anatomy, at: Coordinates) -> np.ndarray:
    """Fat between breastbone and great vessels: a wedge with its edge to the front."""
    x, y, z = at
    cx, cy, cz = anatomy.heart.centre
    depth = 26.0 + anatomy.traits.mediastinal_fat_mm * 2.0
    scale = anatomy.heart.scale
    slab = np.abs(x - cx - 8.0) - 2.0 - anatomy.traits.mediastinal_fat_mm * 0.8
    ahead = cy + 6.0 * scale - y
    level = np.maximum(cz + 20.0 * scale - z, z - cz - (105.0 + depth * 0.2) * scale)
    return np.maximum(np.maximum(slab, ahead), level)


def _fat_pads(anatomy: Anatomy, at: Coordinates) -> tuple[np.ndarray, np.ndarray]:
    """Fat in the angles between heart and diaphragm."""
    cx, cy, _ = anatomy.heart.centre
    size, scale = anatomy.traits.fat_pad_mm, anatomy.heart.scale
    low = anatomy.floor_z
    right = ellipsoid(
        at, (cx + 40.0 * scale, cy + 32.0 * scale, low + 8.0), (size * 0.9 + 2, size * 1.1 + 2, size + 2)
    )
    left = ellipsoid(
        at, (cx - 56.0 * scale, cy + 36.0 * scale, low + 8.0), (size * 1.1 + 2, size + 2, size + 2)
    )
    return right, left


def _body(anatomy: Anatomy, lattice: GridShape, middle: GridField) -> dict[str, GridField]:
    traits = anatomy.traits
    at = anatomy.pose.to_body(lattice)
    x, y, z = at
    muscles = flesh(at, traits)
    room = cavity(at, traits)
    above = z - diaphragm_height(x, y, traits, anatomy.floor_z)
    belly = np.maximum(above, room + 2.0)
    air = meet(np.maximum(room + 3.0, -_spread(middle, lattice)), -above, 5.0)
    inner = np.maximum(belly + 1.5, room + 3.5)
    cut = -(x + traits.liver_left_mm + (z - anatomy.floor_z) * 0.5)
    liver = meet(meet(inner, cut, 16.0), -(y + 88.0), 8.0)
    under = anatomy.floor_z + traits.heart_sink_mm + traits.dome_mm - traits.dome_lead_mm
    size = traits.stomach
    stomach = meet(
        ellipsoid(at, stomach_centre(traits, anatomy.floor_z), (44.0 * size, 56.0 * size, 50.0 * size)),
        inner,
        6.0,
    )
    stomach = np.maximum(stomach, 4.0 - liver)
    spleen = meet(ellipsoid(at, (-98.0, -48.0, under - 52.0), (28.0, 42.0, 52.0)), inner, 6.0)
    spleen = np.maximum(spleen, 3.0 - stomach)
    armpit = ellipsoid((np.abs(x), y, z), (124.0, -12.0, 92.0), (20.0, 30.0, 46.0))
    armpit = np.maximum(armpit, 12.0 - room)
    level = np.maximum(air, y + 96.0 - np.maximum(traits.effusion_mm, -60.0))
    named = {
        "skin": skin(at, muscles, traits),
        "flesh": muscles,
        "armpit": armpit,
        "cavity": room,
        "belly": belly,
        "lungs": air,
        "liver": liver,
        "spleen": spleen,
        "stomach": stomach,
        "effusion": level,
    }
    return {name: GridField(lattice, values) for name, values in named.items()}


def _spread(middle: GridField, lattice: GridShape) -> np.ndarray:
    """The mediastinum's distances on the body's lattice, far outside its own."""
    out = np.full(lattice.size[::-1], np.float32(OUTSIDE_MM))
    found = middle.on_part(lattice.lines)
    if found is not None:
        out[found[0]] = found[1]
    return out
